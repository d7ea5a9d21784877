//! The gateway: the front door only. Behind it a roster of backends that are discovered, dialled, and balanced over.

mod directory;
mod late;
mod metrics;
mod pages;
mod sums;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::ports::{Addresses, Bound, Ports};
use super::server::StartError;
use super::telemetry::{Telemetry, Telling};
use super::{Process, door, endpoint_rules, inforce, measures, told};
use crate::accept::{Concerns, Page, Phases, Readiness};
use crate::admit::{Deadline, InFlight, Limit};
use crate::balance::pick::Policy;
use crate::balance::{Balanced, Dial, Roster, RosterRules, TlsFiles, Traits, over_tcp};
use crate::config::{Config, ModelRules, PickBy};
use crate::discover::{self, Discovery, Lives, Settings, Source};
use crate::error::Room;
use crate::infer::ModelName;
use crate::observe::trace::Counts;
use crate::observe::{Ledger, StatisticsTable};
use crate::wire::origin;
use directory::RosterDirectory;

/// How long calls wait at the start for backends to say what they serve, and how often that is looked at. A backend that
/// is there says it at once; one that does not answer is noticed after `backend.connect_timeout`.
const SETTLING: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);

/// The stages between the door and the backends.
pub type Stages = Limit<Deadline<Balanced>>;

/// A gateway that serves. Its tasks end with [`Gateway::drain`]; dropping it cuts everything off.
pub struct Gateway {
    addresses: Addresses,
    roster: Roster,
    ledger: Arc<Ledger>,
    ports: Ports,
    /// Ends with the gateway.
    keeper: AbortOnDrop,
    telling: Telling,
}

impl Gateway {
    /// Binds the ports, begins to look for backends, and returns once calls are answered: when every backend has said
    /// what it serves or cannot be reached, and with a refusal where none is known after a while. Whoever connects before
    /// that waits.
    ///
    /// # Errors
    /// What keeps it from serving at all. A backend that cannot be reached does not.
    pub async fn start(config: &Config) -> Result<Gateway, StartError> {
        Gateway::start_in(&config.into()).await
    }

    /// The same as the work of `process`.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start_in(process: &Process) -> Result<Gateway, StartError> {
        Gateway::start_with(process, over_tcp()).await
    }

    /// The same with connections to backends that `dial` makes, where there is no TLS.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start_over(config: &Config, dial: Dial) -> Result<Gateway, StartError> {
        Gateway::start_with(&config.into(), dial).await
    }

    async fn start_with(process: &Process, dial: Dial) -> Result<Gateway, StartError> {
        let config = &process.settings.config;
        let sources = sources(config)?;
        let statistics = Arc::new(StatisticsTable::default());
        let rules = roster_rules(config, dial, statistics.clone())?;
        let bound = Bound::bind(process).await?;
        let discovery = discover::start(sources, settings(config))?;
        let roster = Roster::new(rules);
        let lives = discovery.lives.clone();
        let fleet = metrics::Fleet { roster: roster.clone(), lives: lives.clone() };
        let keeper = AbortOnDrop(tokio::spawn(keep(roster.clone(), discovery)));

        let in_flight = InFlight::new(config.limits.in_flight, "the gateway", Room::InFlight);
        let stages: Stages = Limit::new(in_flight, Deadline::new(Balanced::new(roster.clone())));
        let (ledger, phases) = (Arc::new(Ledger::default()), Phases::default());
        let readiness = Readiness { directory: RosterDirectory::new(roster.clone()), phases: phases.clone() };
        let telemetry = Telemetry::of(config, "infergate-gateway")?;
        let measures = measures(config);
        let metrics = told(config, statistics, &ledger, measures.as_ref(), &telemetry).with(fleet);
        let metrics = Arc::new(metrics.with(phases.metrics()));
        let Telemetry { tracing, push } = telemetry;
        let pusher = push.map(|push| push.start(metrics.clone()));
        let telling = Telling { tracer: tracing.tracer.clone(), pusher };
        let front = door(process, stages, (ledger.clone(), measures), &readiness, tracing);
        let bound = bound.with_settings(inforce::settings(process, &telling.tracer));
        let bound = shown(bound, &roster, lives, config.discovery.dns_interval.get());
        let addresses = bound.addresses;
        let _ = timeout(SETTLING, settled(&roster)).await;
        let ports = bound.serve(front, readiness, metrics);
        ports.ready();
        Ok(Gateway { addresses, roster, ledger, ports, keeper, telling })
    }

    /// The addresses that were bound.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Whom it calls.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Counts of calls by their end.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// What became of the calls whose spans are exported; none where there is no collector.
    pub fn traced(&self) -> Option<&Arc<Counts>> {
        self.telling.tracer.counts()
    }

    /// Stops gently, as [`Server::drain`](super::Server::drain) does.
    pub async fn drain(self) {
        let _keeper = self.keeper;
        self.ports.drain(|| ()).await;
        self.telling.flush().await;
    }
}

/// Shows whom it calls on the admin port, and what is wrong with those who say whom to call.
fn shown(bound: Bound, roster: &Roster, lives: Lives, dns_interval: Duration) -> Bound {
    let now = || tokio::time::Instant::now().into_std();
    let (listed, told) = (roster.clone(), roster.clone());
    let endpoints: Page = Arc::new(move || serde_json::json!({ "endpoints": listed.listing(now()) }));
    let models: Page = Arc::new(move || pages::models(&told.told(), &told.listing(now())));
    let stale: Concerns = Arc::new(move || pages::stale(&lives, dns_interval, now()));
    let bound = bound.with("/endpoints", "whom it calls, and how they are", endpoints).concerned(stale);
    bound.with("/models", "what is served, and by how many endpoints", models)
}

/// Ends a task when it is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Until it is known whom to call for what. A client that was connected with the gateway before a restart calls in the
/// moment in which it can connect again.
async fn settled(roster: &Roster) {
    while !roster.is_settled() {
        sleep(LOOK).await;
    }
}

/// Keeps the roster, and the discovery with it.
async fn keep(roster: Roster, discovery: Discovery) {
    match roster.keep(discovery.backends.clone(), discovery.store.clone()).await {}
}

fn settings(config: &Config) -> Settings {
    let discovery = &config.discovery;
    Settings {
        kubeconfig: discovery.kubeconfig.clone(),
        store: discovery.state_file.clone(),
        dns_interval: discovery.dns_interval.get(),
        ..Settings::default()
    }
}

/// Where backends are looked for.
fn sources(config: &Config) -> Result<Vec<Source>, StartError> {
    let discovery = &config.discovery;
    let wrong = |key| move |error: discover::SourceError| StartError::Key { key, what: error.to_string() };
    let mut sources = Vec::new();
    let fixed: Result<Vec<_>, _> = discovery.backends.iter().map(|backend| backend.parse()).collect();
    let fixed = fixed.map_err(wrong("discovery.backends"))?;
    if !fixed.is_empty() {
        sources.push(Source::Fixed(fixed));
    }
    for name in discovery.dns.iter() {
        sources.push(Source::Dns(name.parse().map_err(wrong("discovery.dns"))?));
    }
    for service in discovery.kubernetes.iter() {
        sources.push(Source::Kubernetes(service.parse().map_err(wrong("discovery.kubernetes"))?));
    }
    if sources.is_empty() { Err(StartError::NoBackends) } else { Ok(sources) }
}

fn roster_rules(config: &Config, dial: Dial, statistics: Arc<StatisticsTable>) -> Result<RosterRules, StartError> {
    let (standard, models) = (config.balance.policy, Arc::new(config.model.clone().unwrap_or_default()));
    let of = models.clone();
    Ok(RosterRules {
        endpoint: endpoint_rules(config),
        dial: encrypted(config, dial)?,
        zone: config.discovery.zone.as_ref().map(|zone| zone.as_str().into()),
        survey: config.balance.survey_interval.get(),
        policy: Arc::new(move |name: &ModelName| {
            let own = of.get(name.as_str()).and_then(|rules| rules.policy);
            policy(own.unwrap_or(standard))
        }),
        origin: origin::origin(fastrand::u64(..)),
        late: late::assembly(models.clone(), &config.limits, statistics),
        traits: Arc::new(move |name: &ModelName, told: Option<Traits>| traits(models.get(name.as_str()), told)),
    })
}

fn policy(named: PickBy) -> Policy {
    match named {
        PickBy::ExpectedCompletion => Policy::ExpectedCompletion,
        PickBy::PeakEwma => Policy::PeakEwma,
        PickBy::LeastRequest => Policy::LeastRequest,
        PickBy::RoundRobin => Policy::RoundRobin,
    }
}

/// What is said of a model here goes before what its backends say; what nobody says is the safe thing.
fn traits(rules: Option<&ModelRules>, told: Option<Traits>) -> Traits {
    let pure = rules.and_then(|rules| rules.pure).or(told.map(|told| told.pure)).unwrap_or(false);
    let hedged = rules.and_then(|rules| rules.hedge).unwrap_or(true);
    Traits { pure, hedged }
}

fn encrypted(config: &Config, dial: Dial) -> Result<Dial, StartError> {
    let tls = &config.backend_tls;
    let Some(ca) = &tls.ca else { return Ok(dial) };
    let identity: Option<(PathBuf, PathBuf)> = tls.cert.clone().zip(tls.key.clone());
    dial.with_tls(&TlsFiles { ca: ca.clone(), identity }).map_err(|what| StartError::Key { key: "backend_tls", what })
}
