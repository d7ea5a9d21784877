//! One model of a table: its pools, and who is in them. Made anew only where something that it is made from has changed.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::census::Told;
use super::groups::{Entry, Group, known, mergeable, merged, serves};
use super::route::Route;
use super::steps::Steps;
use super::{Known, RosterRules, picker};
use crate::balance::budget::RetryBudget;
use crate::balance::ejection::Standing;
use crate::balance::hedge::Hedging;
use crate::balance::load::{Binding, Load};
use crate::balance::member::Member;
use crate::balance::now;
use crate::balance::pick::Candidate;
use crate::balance::pool::{Members, Pool, Tactics, Traits};
use crate::discover::Condition;
use crate::error::{Error, Kind};
use crate::infer::{ModelName, Target, Version, VersionChoice};

/// One model.
pub(super) struct Model {
    pub(super) tactics: Arc<Tactics>,
    /// Whoever has any version ready.
    pub(super) any: Way,
    pub(super) versions: BTreeMap<Version, Way>,
    /// What was said of each version, the best of it.
    pub(super) told: Vec<Told>,
    known: Known,
    traits: Traits,
    /// By address, ascending. A list takes a tenth of the memory of a map.
    members: Vec<(SocketAddr, Arc<Member>)>,
}

/// Where calls go, and who is there from when the table is exchanged.
pub(super) struct Way {
    pub(super) route: Route,
    members: Arc<Members>,
}

/// What a model is made from.
pub(super) struct Source<'a> {
    pub(super) name: &'a ModelName,
    pub(super) groups: &'a [Arc<Group>],
    /// Those of the groups.
    pub(super) entries: &'a [Entry<'a>],
}

impl Model {
    /// A model with what is left of the one of `before`. Nothing that calls see is changed before
    /// [`Model::take_effect`].
    pub(super) fn of(source: &Source<'_>, before: Option<&Model>, rules: &RosterRules, now: Instant) -> Model {
        let Source { name, groups, entries } = *source;
        let known = known(name, groups);
        let tactics = before.map_or_else(|| Arc::new(tactics(name, rules, now)), |model| model.tactics.clone());
        let traits = (rules.traits)(name, known.pure.map(|pure| Traits { pure, hedged: false }));
        let assemble = (rules.late)(name);
        let binding = if assemble.is_some() { Binding::Late } else { Binding::Early };
        let new = |entry: &Entry<'_>| {
            let load = Load::new(binding, known.largest, tactics.zero, now);
            let member = Member::new(entry.seen.endpoint.clone(), load, now).ringing(tactics.bell.clone());
            member.counted_in(tactics.changes.clone(), now)
        };
        let members = joined(before.map_or(&[], |model| &model.members), entries, new);
        if before.is_some_and(|before| before.known.largest != known.largest) {
            // They were found before anybody said so.
            let largest = known.largest.into_iter();
            largest.for_each(|rows| members.iter().for_each(|(_, member)| member.load().runs_at_once(rows)));
        }
        let told = merged(name, groups);
        let ready = || told.iter().filter(|told| told.ready);
        let ready_versions: HashSet<Version> = ready().filter_map(|told| told.version).collect();
        // Whoever has anything ready has the one version: both pools have the same members.
        let is_one = ready_versions.len() == 1 && ready().all(|told| told.version.is_some());
        let everybody = Arc::new(chosen(None, entries, &members, rules));
        let way = |kept: Option<&Way>, wanted: Option<Version>| {
            let kept = kept.map(|way| &way.route);
            let pool = kept.map(|route| route.pool.clone()).unwrap_or_else(|| Arc::new(Pool::new(tactics.clone())));
            let members = match wanted {
                Some(_) if !is_one => Arc::new(chosen(wanted, entries, &members, rules)),
                _ => everybody.clone(),
            };
            let mergeable = assemble.as_ref().and_then(|assemble| Some((mergeable(name, wanted, groups)?, assemble)));
            Way { route: Route::of(pool, kept, wanted, mergeable), members }
        };
        let any = way(before.map(|model| &model.any), None);
        let versions = ready_versions
            .into_iter()
            .map(|version| (version, way(before.and_then(|model| model.versions.get(&version)), Some(version))))
            .collect();
        Model { tactics, any, versions, told, known, traits, members }
    }

    /// Lets calls see its members.
    pub(super) fn take_effect(&self) {
        self.tactics.traits.store(Arc::new(self.traits));
        self.ways().for_each(|way| way.route.pool.exchange(way.members.clone()));
    }

    /// Looks after the breakers of its members. Of a model that nobody calls, and whose members all admit, there is
    /// nothing to look after: a gateway may know of hundreds of models at thousands of endpoints.
    pub(super) async fn watch(&self, steps: &mut Steps) {
        // Before the look: a call that comes meanwhile is for the next.
        if !self.tactics.astir.swap(false, Relaxed) {
            return;
        }
        let mut spared: Vec<Arc<Member>> = Vec::new();
        for way in self.ways() {
            spared.extend(way.route.pool.watch(now()));
            steps.looked_at(way.members.len()).await;
        }
        self.spare(&spared);
        // Connections and breakers change by themselves.
        self.tactics.bell.ring();
        if !self.ways().all(|way| way.route.pool.is_idle()) || !self.is_at_rest(now()) {
            self.tactics.stir();
        }
        steps.looked_at(self.members.len()).await;
    }

    fn spare(&self, spared: &[Arc<Member>]) {
        let spared: HashSet<*const Member> = spared.iter().map(Arc::as_ptr).collect();
        for (_, member) in &self.members {
            member.breaker.spare(spared.contains(&Arc::as_ptr(member)));
        }
    }

    /// Whether nobody is called, and everybody may be.
    fn is_at_rest(&self, now: Instant) -> bool {
        let mut members = self.members.iter().map(|(_, member)| member);
        members.all(|member| member.load().calls() == 0 && member.breaker.standing(now) == Standing::Admitting)
    }

    /// How many endpoints say something of it.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The member that an endpoint is.
    pub(super) fn member_at(&self, address: SocketAddr) -> Option<&Arc<Member>> {
        let at = self.members.binary_search_by_key(&address, |(address, _)| *address).ok()?;
        Some(&self.members[at].1)
    }

    fn ways(&self) -> impl Iterator<Item = &Way> {
        std::iter::once(&self.any).chain(self.versions.values())
    }

    /// Why a call for it cannot be served now.
    pub(super) fn not_ready(&self, target: &Target) -> Error {
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
        name: name.clone(),
        picker: picker((rules.policy)(name)),
        budget: RetryBudget::new(now),
        hedging: Hedging::new(now),
        traits: Default::default(),
        message_size: rules.endpoint.message_size,
        origin: rules.origin.clone(),
        bell: Default::default(),
        zero: now,
        extra: Default::default(),
        changes: Default::default(),
        astir: Default::default(),
    }
}

/// The members for these endpoints: those of before, and new ones for new endpoints. All by address.
fn joined(
    before: &[(SocketAddr, Arc<Member>)],
    entries: &[Entry<'_>],
    new: impl Fn(&Entry<'_>) -> Member,
) -> Vec<(SocketAddr, Arc<Member>)> {
    let mut before = before.iter().peekable();
    let member = |entry: &Entry<'_>| {
        let address = entry.seen.backend.address;
        while before.next_if(|(other, _)| *other < address).is_some() {}
        let there = before.next_if(|(other, _)| *other == address);
        // What was held against an endpoint without the model does not count once it has it.
        let is_kept =
            |member: &&Arc<Member>| serves(entry.told, None) && Arc::ptr_eq(&member.endpoint, &entry.seen.endpoint);
        let kept = there.map(|(_, member)| member).filter(is_kept).cloned();
        (address, kept.unwrap_or_else(|| Arc::new(new(entry))))
    };
    entries.iter().map(member).collect()
}

/// Whoever has the version ready, or any where none is wanted: those that are ready for calls, else those that are
/// leaving. `members` are those of the entries, in their order.
fn chosen(
    wanted: Option<Version>,
    entries: &[Entry<'_>],
    members: &[(SocketAddr, Arc<Member>)],
    rules: &RosterRules,
) -> Members {
    for condition in [Condition::Ready, Condition::Leaving] {
        let mut chosen = Members::default();
        for (Entry { seen, told }, (_, member)) in entries.iter().zip(members) {
            if seen.backend.condition != condition || !serves(told, wanted) {
                continue;
            }
            let zone = &seen.backend.zone;
            let is_far = rules.zone.is_some() && zone.is_some() && *zone != rules.zone;
            if is_far { chosen.far.push(member.clone()) } else { chosen.near.push(member.clone()) }
        }
        if !chosen.is_empty() {
            chosen.near.shrink_to_fit();
            chosen.far.shrink_to_fit();
            return chosen;
        }
    }
    Members::default()
}
