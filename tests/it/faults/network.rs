//! The simulated hosts: scripted backends, and a gateway's stages behind its door that call them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infergate::admit::Deadline;
use infergate::balance::pick::Policy;
use infergate::balance::{Balanced, Dial, EndpointRules, Roster, RosterRules, Traits};
use infergate::discover::{Backend, Backends};
use infergate::infer::{InferRequest, Member, Target, Timeline};
use infergate::tensor::{DType, Shape, Tensor};
use infergate::wire::origin;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tower::Service;
use turmoil::net::{TcpListener, TcpStream};

use super::weather::Weather;
use crate::harness::{Deed, Part, Taken, floats};

pub const BACKENDS: usize = 4;
pub const GATEWAY: &str = "gateway";
const PORT: u16 = 8001;
/// Calls come so often.
const PAUSE: Duration = Duration::from_millis(10);
/// The clock's step.
const TICK: Duration = Duration::from_millis(1);
/// How long calls come after everything must be well.
const CALM: Duration = Duration::from_secs(2);

pub fn backend(number: usize) -> String {
    format!("backend-{number}")
}

/// What the backends say of their model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    Pure,
    Impure,
}

/// One call as a backend saw it.
#[derive(Debug, Clone)]
pub struct Ran {
    pub call: u32,
    pub backend: usize,
    pub at: Duration,
}

/// How one call ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub began: Duration,
    pub at: Duration,
    pub deadline: Duration,
    pub failed: Option<String>,
}

/// All that happened.
#[derive(Debug, Default)]
pub struct Told {
    pub calls: usize,
    pub runs: Vec<Ran>,
    pub outcomes: Vec<Outcome>,
    /// How the backends were seen at the end.
    pub seen: String,
}

type Log = Arc<Mutex<Told>>;

/// Runs one simulation to its end.
pub fn run(seed: u64, weather: &Weather, model: Model) -> Told {
    fastrand::seed(seed);
    let log = Log::default();
    let end = weather.calm() + CALM;
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(end + Duration::from_secs(30))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(1))
        .build();
    for place in 0..BACKENDS {
        let log = log.clone();
        sim.host(backend(place), move || stand(place, model, log.clone()));
    }
    let addresses: Vec<SocketAddr> =
        (0..BACKENDS).map(|number| SocketAddr::new(sim.lookup(backend(number)), PORT)).collect();
    let (away, told) = (weather.away.clone(), log.clone());
    sim.client(GATEWAY, async move {
        call(addresses, away, end, told).await;
        Ok(())
    });
    let mut since = Duration::ZERO;
    loop {
        let is_over = sim.step().expect("no host fails otherwise than by the weather");
        let now = sim.elapsed();
        weather.pass(&mut sim, since..now);
        since = now;
        if is_over {
            break;
        }
    }
    drop(sim);
    std::mem::take(&mut log.lock().unwrap())
}

/// The moment in the simulation, the same for all hosts.
fn moment() -> Duration {
    turmoil::sim_elapsed().expect("in a simulation")
}

async fn stand(place: usize, model: Model, log: Log) -> turmoil::Result {
    let part = Part::of(model == Model::Pure, move |taken| {
        let call = number(taken);
        log.lock().unwrap().runs.push(Ran { call, backend: place, at: moment() });
        let wait = Duration::from_millis(fastrand::u64(1..20));
        Deed::After(wait, Box::new(Deed::Answer(taken.echo())))
    });
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        connections.spawn(part.clone().attend(stream));
    }
}

fn number(taken: &Taken) -> u32 {
    let raw = &taken.request().raw_input_contents[0];
    f32::from_le_bytes(raw[..4].try_into().unwrap()) as u32
}

fn rules() -> RosterRules {
    RosterRules {
        endpoint: EndpointRules {
            connect_timeout: Duration::from_secs(1),
            silence: Duration::from_millis(250),
            ping_timeout: Duration::from_millis(600),
            connections: 2,
            windows: (1 << 20, 1 << 20),
            message_size: 1 << 20,
        },
        dial: Dial::through(TcpStream::connect),
        zone: None,
        survey: Duration::from_secs(1),
        policy: Arc::new(|_| Policy::default()),
        origin: origin::origin(1),
        late: Arc::new(|_| None),
        traits: Arc::new(|_, told| told.unwrap_or(Traits { pure: false, hedged: false })),
    }
}

/// The gateway: calls come at a steady pace until `end`; one backend is away for a while.
async fn call(addresses: Vec<SocketAddr>, away: std::ops::Range<Duration>, end: Duration, log: Log) {
    let all: Backends = addresses.iter().map(|address| Backend::at(*address)).collect();
    let some: Backends = addresses[..BACKENDS - 1].iter().map(|address| Backend::at(*address)).collect();
    let (discovered, changes) = watch::channel(all.clone());
    let roster = Roster::new(rules());
    tokio::spawn(roster.clone().keep(changes, None));
    let stages = Deadline::new(Balanced::new(roster.clone()));
    let target = Target::parse("echo".into(), "").unwrap();
    while roster.resolve(&target).is_err() || roster.endpoints().iter().any(|endpoint| !endpoint.is_reachable()) {
        sleep_until(Instant::now() + PAUSE).await;
    }
    sleep_until(Instant::now() + Duration::from_millis(500)).await;
    let start = Instant::now() - moment();
    let mut calls = JoinSet::new();
    let mut number = 0;
    while moment() < end {
        discovered.send_if_modified(|known| {
            let wanted = if away.contains(&moment()) { &some } else { &all };
            let is_new = known != wanted;
            *known = wanted.clone();
            is_new
        });
        number += 1;
        log.lock().unwrap().calls += 1;
        let time = Duration::from_millis(fastrand::u64(1000..3000));
        calls.spawn(one(stages.clone(), target.clone(), number, time, start, log.clone()));
        sleep_until(Instant::now() + PAUSE).await;
    }
    log.lock().unwrap().seen = serde_json::to_string(&roster.listing(Instant::now().into_std())).unwrap();
    let last = Instant::now() + Duration::from_secs(10);
    tokio::select! {
        _ = async { while calls.join_next().await.is_some() {} } => {}
        () = sleep_until(last) => {}
    }
}

/// One call to its end.
async fn one(mut stages: Deadline<Balanced>, target: Target, call: u32, time: Duration, start: Instant, log: Log) {
    let began = Instant::now();
    let deadline = began + time;
    let x = Tensor::new("x".into(), DType::Fp32, Shape::new(&[1]).unwrap(), floats(&[call as f32]).into()).unwrap();
    let member = Member {
        id: "".into(),
        deadline: deadline.into_std(),
        trace: None,
        previous_attempts: 0,
        timeline: Timeline::start(began.into_std()),
    };
    let answer = stages.call(InferRequest::new(target, [x], member)).await;
    let failed = match answer {
        Ok(response) if response.outputs[0].data().to_bytes() == floats(&[call as f32]) => None,
        Ok(_) => Some("answered with what is another's".to_owned()),
        Err(error) => Some(format!("{}: {error}", error.kind().name())),
    };
    let outcome = Outcome { began: began - start, at: start.elapsed(), deadline: deadline - start, failed };
    log.lock().unwrap().outcomes.push(outcome);
}
