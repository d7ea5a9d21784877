//! The table that calls read: per model its pools. Immutable; pools live on from table to table, so that what is known of
//! their members does.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::census::Told;
use super::mergeable::Mergeable;
use super::route::Route;
use super::station::Station;
use super::{Known, RosterRules, picker};
use crate::balance::budget::RetryBudget;
use crate::balance::ejection::Standing;
use crate::balance::hedge::Hedging;
use crate::balance::load::{Binding, Load};
use crate::balance::member::Member;
use crate::balance::pick::Candidate;
use crate::balance::pool::{Members, Pool, Tactics};
use crate::discover::Condition;
use crate::error::{Error, Kind, Result};
use crate::infer::{ModelName, Target, Version, VersionChoice};

/// Models and their pools.
#[derive(Default)]
pub(super) struct Table {
    models: HashMap<ModelName, Model>,
    /// How many backends there are, and how many of them have said what they serve.
    backends: usize,
    surveyed: usize,
}

/// One model.
struct Model {
    tactics: Arc<Tactics>,
    /// Whoever has any version ready.
    any: Route,
    versions: BTreeMap<Version, Route>,
    /// What was said of each version, the best of it.
    told: Vec<Told>,
    members: HashMap<SocketAddr, Arc<Member>>,
}

impl Table {
    /// The table for these stations, with the pools of this one as far as there are any.
    pub(super) fn next(
        &self,
        stations: &BTreeMap<SocketAddr, Station>,
        known: &BTreeMap<ModelName, Known>,
        rules: &RosterRules,
        now: Instant,
    ) -> Table {
        let mut serving: HashMap<&ModelName, Vec<&Station>> = HashMap::new();
        for station in stations.values() {
            station.census.models.keys().for_each(|name| serving.entry(name).or_default().push(station));
        }
        let models = serving.into_iter().map(|(name, stations)| {
            let known = known.get(name).copied().unwrap_or_default();
            let before = self.models.get(name);
            (name.clone(), Model::of(name, before, &stations, known, rules, now))
        });
        Table {
            models: models.collect(),
            backends: stations.len(),
            surveyed: stations.values().filter(|station| station.census.taken).count(),
        }
    }

    /// Where a call goes.
    pub(super) fn resolve(&self, target: &Target) -> Result<Route> {
        let Some(model) = self.models.get(&target.name) else { return Err(self.unknown(target)) };
        let route = match &target.version {
            VersionChoice::Latest => Some(&model.any),
            VersionChoice::Exact(version) => model.versions.get(version),
            VersionChoice::Label(_) => {
                let message = format!("model {target}: labels of versions are not known here: name the version");
                return Err(Error::unsupported(message));
            }
        };
        match route {
            Some(route) if !route.pool.members().is_empty() => Ok(route.clone()),
            _ => Err(model.not_ready(target)),
        }
    }

    fn unknown(&self, target: &Target) -> Error {
        let unknown = |()| Error::new(Kind::UnknownModel, format!("no backend has model {target}"));
        self.ready().map_or_else(|error| error, unknown)
    }

    /// Whether anything is known of any backend.
    pub(super) fn ready(&self) -> Result<()> {
        match (self.backends, self.surveyed) {
            (0, _) => Err(Error::new(Kind::NoBackend, "no backend is known yet")),
            (_, 0) => Err(Error::new(Kind::NoBackend, "no backend has said yet what it serves")),
            _ => Ok(()),
        }
    }

    /// Whether all but `lost` backends have said what they serve; never where there is none.
    pub(super) fn is_complete(&self, lost: usize) -> bool {
        self.backends > 0 && self.surveyed + lost >= self.backends
    }

    /// Looks after the breakers of all members.
    pub(super) fn watch(&self, now: Instant) {
        self.models.values().for_each(|model| model.watch(now));
    }

    /// Each model with what its pools share and who is in them.
    pub(super) fn models(&self) -> impl Iterator<Item = (&ModelName, &Arc<Tactics>, &Arc<Pool>)> {
        self.models.iter().map(|(name, model)| (name, &model.tactics, &model.any.pool))
    }

    pub(super) fn told(&self) -> Vec<Told> {
        let mut told: Vec<Told> = self.models.values().flat_map(|model| model.told.iter().cloned()).collect();
        told.sort_by(|one, other| (&one.name, one.version).cmp(&(&other.name, other.version)));
        told
    }

    /// The member of each model that an endpoint is.
    pub(super) fn members_at(&self, address: SocketAddr) -> impl Iterator<Item = (&ModelName, &Arc<Member>)> {
        self.models.iter().filter_map(move |(name, model)| Some((name, model.members.get(&address)?)))
    }
}

impl Model {
    fn of(
        name: &ModelName,
        before: Option<&Model>,
        stations: &[&Station],
        known: Known,
        rules: &RosterRules,
        now: Instant,
    ) -> Model {
        let tactics = before.map_or_else(|| Arc::new(tactics(name, rules, now)), |model| model.tactics.clone());
        tactics.traits.store(Arc::new((rules.traits)(name, known.traits)));
        let assemble = (rules.late)(name);
        let binding = if assemble.is_some() { Binding::Late } else { Binding::Early };
        let members: HashMap<SocketAddr, Arc<Member>> = stations
            .iter()
            .map(|station| {
                let address = station.backend.address;
                // What was held against an endpoint without the model does not count once it has it.
                let is_kept = serves(station, name, None);
                let same = |member: &&Arc<Member>| is_kept && Arc::ptr_eq(&member.endpoint, station.endpoint());
                let kept = before.and_then(|model| model.members.get(&address)).filter(same).cloned();
                let new = || {
                    let load = Load::new(binding, known.largest, tactics.zero, now);
                    let member = Member::new(station.endpoint().clone(), load, now);
                    Arc::new(member.ringing(tactics.bell.clone()))
                };
                let member = kept.unwrap_or_else(new);
                // It may have been found before anybody said so.
                known.largest.into_iter().for_each(|largest| member.load().runs_at_once(largest));
                (address, member)
            })
            .collect();
        let told = merged(name, stations);
        let ready_versions: HashSet<Version> =
            told.iter().filter(|told| told.ready).filter_map(|told| told.version).collect();
        let route = |kept: Option<&Route>, wanted: Option<Version>| {
            let pool = kept.map(|route| route.pool.clone()).unwrap_or_else(|| Arc::new(Pool::new(tactics.clone())));
            pool.exchange(chosen(name, wanted, stations, &members, rules));
            let mergeable = mergeable(name, wanted, stations).zip(assemble.as_ref());
            Route::of(pool, kept, mergeable)
        };
        let any = route(before.map(|model| &model.any), None);
        let versions = ready_versions
            .into_iter()
            .map(|version| (version, route(before.and_then(|model| model.versions.get(&version)), Some(version))))
            .collect();
        Model { tactics, any, versions, told, members }
    }

    /// Of a model that nobody calls, and whose members all admit, there is nothing to look after: a gateway may know of
    /// hundreds of models at thousands of endpoints.
    fn watch(&self, now: Instant) {
        // Before the look: a call that comes meanwhile is for the next.
        if !self.tactics.astir.swap(false, Relaxed) {
            return;
        }
        let routes = || std::iter::once(&self.any).chain(self.versions.values());
        let spared: Vec<Arc<Member>> = routes().flat_map(|route| route.pool.watch(now)).collect();
        for member in self.members.values() {
            member.breaker.spare(spared.iter().any(|spared| Arc::ptr_eq(spared, member)));
        }
        let is_at_rest =
            |member: &Arc<Member>| member.load().calls() == 0 && member.breaker.standing(now) == Standing::Admitting;
        // Connections and breakers change by themselves.
        self.tactics.bell.ring();
        if !routes().all(|route| route.pool.is_idle()) || !self.members.values().all(is_at_rest) {
            self.tactics.stir();
        }
    }

    /// Why a call for it cannot be served now.
    fn not_ready(&self, target: &Target) -> Error {
        let wanted = |told: &&Told| match &target.version {
            VersionChoice::Exact(version) => told.version == Some(*version),
            _ => true,
        };
        match self.told.iter().filter(wanted).max_by_key(|told| told.version) {
            None => Error::new(Kind::UnknownModel, format!("no backend has model {target}")),
            Some(told) if told.ready => {
                let message = format!("model {target} is served only by backends that are not ready");
                Error::new(Kind::NotReady, message)
            }
            Some(told) => Error::new(Kind::NotReady, format!("model {target} is not ready: {}", told.reason)),
        }
    }
}

fn tactics(name: &ModelName, rules: &RosterRules, now: Instant) -> Tactics {
    Tactics {
        picker: picker((rules.policy)(name)),
        budget: RetryBudget::new(now),
        hedging: Hedging::new(now),
        traits: Default::default(),
        message_size: rules.endpoint.message_size,
        origin: rules.origin.clone(),
        bell: Default::default(),
        zero: now,
        extra: Default::default(),
        astir: Default::default(),
    }
}

/// Whoever has the version ready, or any where none is wanted: those that are ready for calls, else those that are
/// leaving.
fn chosen(
    name: &ModelName,
    wanted: Option<Version>,
    stations: &[&Station],
    members: &HashMap<SocketAddr, Arc<Member>>,
    rules: &RosterRules,
) -> Members {
    let has = |station: &&&Station| serves(station, name, wanted);
    for condition in [Condition::Ready, Condition::Leaving] {
        let there = stations.iter().filter(has).filter(|station| station.backend.condition == condition);
        let mut chosen = Members::default();
        for station in there {
            let member = members[&station.backend.address].clone();
            let is_far = rules.zone.is_some() && station.backend.zone.is_some() && station.backend.zone != rules.zone;
            if is_far { chosen.far.push(member) } else { chosen.near.push(member) }
        }
        if !chosen.is_empty() {
            return chosen;
        }
    }
    Members::default()
}

/// How calls of a version are put together, or where none is wanted those of the last version that each has ready; told
/// only where all that have it ready say the same.
fn mergeable(name: &ModelName, wanted: Option<Version>, stations: &[&Station]) -> Option<Arc<Mergeable>> {
    let mut agreed: Option<&Arc<Mergeable>> = None;
    for station in stations {
        let told = station.census.models.get(name).into_iter().flatten();
        let ready = told.filter(|told| told.ready && (wanted.is_none() || told.version == wanted));
        let Some(told) = ready.max_by_key(|told| told.version) else { continue };
        let mergeable = told.mergeable.as_ref()?;
        if agreed.is_some_and(|agreed| agreed != mergeable) {
            return None;
        }
        agreed = Some(mergeable);
    }
    agreed.cloned()
}

/// Whether an endpoint has the version ready, or any where none is wanted.
fn serves(station: &Station, name: &ModelName, wanted: Option<Version>) -> bool {
    let told = station.census.models.get(name).into_iter().flatten();
    told.into_iter().any(|told| told.ready && (wanted.is_none() || told.version == wanted))
}

/// What is said of each version, by whoever says the best of it.
fn merged(name: &ModelName, stations: &[&Station]) -> Vec<Told> {
    let mut merged: BTreeMap<Option<Version>, Told> = BTreeMap::new();
    for told in stations.iter().flat_map(|station| station.census.models.get(name).into_iter().flatten()) {
        let known = merged.entry(told.version).or_insert_with(|| told.clone());
        if told.ready && !known.ready {
            *known = told.clone();
        }
    }
    merged.into_values().collect()
}
