//! Whom there is to call for which model. One task keeps it: it dials what discovery tells, takes in what each endpoint
//! says that it serves, and exchanges the table that calls read. Calls never wait for it.

mod alike;
mod balanced;
mod census;
mod groups;
mod listing;
mod lookup;
mod mergeable;
mod model;
mod natures;
mod route;
mod station;
mod steps;
mod survey;
mod table;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytestring::ByteString;
use http::HeaderValue;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use alike::Alike;
pub use balanced::Balanced;
use census::Taken;
pub use census::{Census, Told};
pub use listing::Listed;
use lookup::LookUps;
pub use mergeable::Mergeable;
use natures::Natures;
pub use natures::Said;
use route::Route;
pub use route::{Assemble, Assemblies, Serve};
use station::Station;
use table::{Heard, Table};

use super::endpoint::{Connectivity, Dial, Endpoint, Rules};
use super::member::Member;
use super::now;
use super::pick::{Candidate, Policy, SlowStart, Zones};
use super::pool::{Pool, Tactics, Traits};
use crate::discover::{Backends, Change, Guard, Store};
use crate::error::{Kind, Result};
use crate::infer::{ModelName, Target};

/// How often breakers are looked after.
const LOOK: Duration = Duration::from_millis(100);
/// How long changes are collected before the table is made anew: a rollout brings many at once.
const SETTLE: Duration = Duration::from_millis(20);

/// Says by which rule a model's endpoints are picked.
type PolicyOf = Arc<dyn Fn(&ModelName) -> Policy + Send + Sync>;
/// Says what holds of a model, of which a backend said that.
type TraitsOf = Arc<dyn Fn(&ModelName, Option<Traits>) -> Traits + Send + Sync>;

/// How endpoints are called and watched.
#[derive(Clone)]
pub struct RosterRules {
    /// Connections.
    pub endpoint: Rules,
    /// How they are made.
    pub dial: Dial,
    /// The gateway's own zone.
    pub zone: Option<ByteString>,
    /// How often endpoints are asked what they serve.
    pub survey: Duration,
    /// By which rule endpoints are picked, by model.
    pub policy: PolicyOf,
    /// Who this gateway is to its backends (see [`origin`](crate::wire::origin)).
    pub origin: HeaderValue,
    /// How the calls of a model are made to wait here, for a model whose calls are.
    pub late: Assemblies,
    /// What is said of a model here, over what its backends say.
    pub traits: TraitsOf,
}

/// Whom there is to call. Clones are handles to the same.
#[derive(Clone)]
pub struct Roster {
    inner: Arc<Inner>,
}

struct Inner {
    rules: RosterRules,
    table: ArcSwap<Table>,
    stations: Mutex<BTreeMap<SocketAddr, Station>>,
    natures: Natures,
    look_ups: LookUps,
    alike: Alike,
    /// Who holds it makes the next table.
    making: tokio::sync::Mutex<()>,
    /// Tables of before, until nobody reads them.
    retired: Mutex<Vec<Arc<Table>>>,
    dirty: Notify,
    changes: watch::Sender<u64>,
}

/// What backends said of a model, as far as it holds at all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Known {
    /// Whether running a call twice is as good as running it once.
    pure: Option<bool>,
    /// Rows of a batch.
    largest: Option<u32>,
}

impl Roster {
    /// A roster of nobody yet. [`Roster::keep`] fills it.
    pub fn new(rules: RosterRules) -> Roster {
        Roster {
            inner: Arc::new(Inner {
                rules,
                table: ArcSwap::default(),
                stations: Mutex::default(),
                natures: Natures::default(),
                look_ups: LookUps::default(),
                alike: Alike::default(),
                making: Default::default(),
                retired: Mutex::default(),
                dirty: Notify::new(),
                changes: watch::Sender::new(0),
            }),
        }
    }

    /// Follows what is discovered, for as long as it is polled. What it uses is kept in `store`.
    pub async fn keep(self, mut discovered: watch::Receiver<Backends>, store: Option<Store>) -> Infallible {
        let (mut guard, mut used) = (Guard::default(), Backends::default());
        let mut tasks = JoinSet::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = discovered.borrow_and_update().clone();
        let mut goes_on = true;
        loop {
            let admitted = guard.admit(&told, |address| self.inner.is_connected(address));
            self.follow(&admitted, &mut used, &mut tasks).await;
            store.iter().for_each(|store| store.save(&used));
            loop {
                tokio::select! {
                    changed = discovered.changed(), if goes_on => match changed {
                        Ok(()) => break,
                        // A list that is written down is told once.
                        Err(_) => goes_on = false,
                    },
                    () = self.inner.dirty.notified() => {
                        sleep(SETTLE).await;
                        self.forget_lost_suspects(&mut guard, &mut used, &mut tasks).await;
                        self.inner.rebuild().await;
                    }
                    _ = look.tick() => {
                        self.inner.watch().await;
                        self.inner.dismantle().await;
                    }
                    Some(_) = tasks.join_next() => {}
                }
            }
            told = discovered.borrow_and_update().clone();
        }
    }

    /// Goes from the backends in use to another set of them.
    async fn follow(&self, admitted: &Backends, used: &mut Backends, tasks: &mut JoinSet<()>) {
        let changes = admitted.changes_since(used);
        if changes.is_empty() {
            return;
        }
        for change in changes {
            match change {
                Change::Added(backend) => {
                    tracing::info!(backend = %backend.name, address = %backend.address, condition = %backend.condition, "backend discovered");
                    let station = Station::start(backend, &self.inner.rules, now());
                    tasks.spawn(survey::keep(Arc::downgrade(&self.inner), station.surveyed()));
                    self.inner.stations().insert(station.backend().address, station);
                }
                Change::Changed(backend) => {
                    tracing::info!(backend = %backend.name, address = %backend.address, condition = %backend.condition, "backend changed");
                    if let Some(station) = self.inner.stations().get_mut(&backend.address) {
                        station.change(backend);
                    }
                }
                Change::Removed(address) => {
                    let gone = self.inner.stations().remove(&address);
                    if let Some(station) = gone {
                        tracing::info!(backend = %station.backend().name, %address, "backend removed");
                    }
                }
            }
        }
        *used = admitted.clone();
        self.inner.rebuild().await;
    }

    async fn forget_lost_suspects(&self, guard: &mut Guard, used: &mut Backends, tasks: &mut JoinSet<()>) {
        let lost: Vec<SocketAddr> = {
            let stations = self.inner.stations();
            let is_lost =
                |station: &&Station| matches!(*station.endpoint().connectivity().borrow(), Connectivity::Lost(_));
            stations.values().filter(is_lost).map(|station| station.backend().address).collect()
        };
        for address in lost {
            if let Some(left) = guard.lost(address) {
                self.follow(&left, used, tasks).await;
            }
        }
    }

    /// The pool for a call.
    ///
    /// # Errors
    /// `UnknownModel` where no endpoint has it, `NotReady` with the reason where some do, `NoBackend` where none is known.
    pub fn resolve(&self, target: &Target) -> Result<Arc<Pool>> {
        self.route(target).map(|route| route.pool)
    }

    /// Where a call goes.
    fn route(&self, target: &Target) -> Result<Route> {
        self.inner.table.load().resolve(target)
    }

    /// The same, after asking those endpoints that do not say by themselves what they serve.
    ///
    /// # Errors
    /// As [`Roster::resolve`].
    pub async fn look_up(&self, target: &Target) -> Result<Arc<Pool>> {
        self.look_up_route(target).await.map(|route| route.pool)
    }

    async fn look_up_route(&self, target: &Target) -> Result<Route> {
        match self.route(target) {
            Err(error) if error.kind() == Kind::UnknownModel && self.inner.look_up(target).await => self.route(target),
            routed => routed,
        }
    }

    /// Every version of every model that some endpoint has.
    pub fn told(&self) -> Vec<Told> {
        self.inner.table.load().told()
    }

    /// Whether any endpoint is known and has said what it serves, be it reachable now or not: before that, every call
    /// would be refused.
    ///
    /// # Errors
    /// `NoBackend`.
    pub fn ready(&self) -> Result<()> {
        self.inner.table.load().ready()
    }

    /// Whether every endpoint has said what it serves and of what nature that is, or could not be reached; never before
    /// one is known. Until then a call may find nobody who will be there in a moment.
    pub fn is_settled(&self) -> bool {
        let is_lost = |station: &&Station| {
            !station.census.taken && matches!(*station.endpoint().connectivity().borrow(), Connectivity::Lost(_))
        };
        let lost = self.inner.stations().values().filter(is_lost).count();
        self.inner.table.load().is_complete(lost)
    }

    /// A number that rises with each change of what can be called.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Every endpoint, by address.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.inner.stations().values().map(|station| station.endpoint().clone()).collect()
    }

    /// Asks every endpoint that is connected what it serves. What they say holds for calls that come afterwards.
    pub async fn survey(&self) {
        self.inner.survey().await;
    }

    /// Has the members of a pool asked soon what they serve, since one of them does not serve what it said.
    fn doubt(&self, pool: &Pool) {
        let stations = self.inner.stations();
        let members = pool.members();
        let doubted = members.iter().filter_map(|member| stations.get(&member.endpoint.address()));
        doubted.for_each(Station::survey_soon);
    }

    /// Each model by name, with what its pools share and the pool of any version.
    pub fn models(&self) -> Vec<(ModelName, Arc<Tactics>, Arc<Pool>)> {
        let table = self.inner.table.load();
        let mut models: Vec<_> =
            table.models().map(|(name, tactics, pool)| (name.clone(), tactics.clone(), pool.clone())).collect();
        models.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        models
    }

    /// Every endpoint as people want to see it.
    pub fn listing(&self, now: Instant) -> Vec<Listed> {
        let table = self.inner.table.load();
        self.inner.stations().values().map(|station| Listed::of(station, &table, now)).collect()
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").field("endpoints", &self.inner.stations().len()).finish_non_exhaustive()
    }
}

impl Inner {
    fn stations(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Station>> {
        self.stations.lock().expect("nothing panics while it holds the stations")
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<Table>>> {
        self.retired.lock().expect("nothing panics while it holds the tables of before")
    }

    fn is_connected(&self, address: SocketAddr) -> bool {
        self.stations().get(&address).is_some_and(|station| station.endpoint().is_reachable())
    }

    /// Exchanges the table for one of what is known now.
    async fn rebuild(&self) {
        let _making = self.making.lock().await;
        let before = self.table.load_full();
        let next = before.next(self.heard(), &self.rules, now()).await;
        next.take_effect(&before);
        self.table.store(Arc::new(next));
        self.retired().push(before);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Taken out at once: a large table takes a while, and surveys go on meanwhile.
    fn heard(&self) -> Heard {
        let said = |station: &Station| (station.seen.clone(), station.census.clone());
        let endpoints = self.stations().values().map(said).collect();
        Heard { endpoints }
    }

    async fn watch(&self) {
        let table = self.table.load_full();
        table.watch().await;
    }

    /// Ends the tables of before. A call that reads one never is the last to hold it, which would cost it the time for
    /// that.
    async fn dismantle(&self) {
        let retired = std::mem::take(&mut *self.retired());
        for table in retired {
            match Arc::try_unwrap(table) {
                Ok(table) => table.dismantle().await,
                Err(table) => self.retired().push(table),
            }
        }
    }

    /// An endpoint has come up, or come back: who was ejected there is worth a probe.
    fn connected(&self, endpoint: &Endpoint) {
        let now = now();
        let table = self.table.load();
        let members = table.members_at(endpoint.address()).map(|(_, member)| member);
        for member in members {
            member.breaker.reconnected(now);
            member.load().begin_anew();
        }
        self.dirty.notify_one();
    }

    /// What a survey found that asked at `asked`. Tells those who keep the table.
    fn surveyed(&self, endpoint: &Arc<Endpoint>, taken: Taken, asked: Instant) {
        // Another may have come to the same address meanwhile, of which this says nothing.
        if let Some(station) = self.stations().get_mut(&endpoint.address())
            && Arc::ptr_eq(station.endpoint(), endpoint)
            && station.note(taken, asked, &self.alike).is_some()
        {
            self.dirty.notify_one();
        }
    }
}

/// How pools pick where nothing else is said.
fn picker(policy: Policy) -> super::pick::Picker {
    super::pick::Picker::new(policy, Zones::default(), SlowStart::default())
}

#[cfg(test)]
mod tests;
