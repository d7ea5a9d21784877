//! The table that calls read: per model its pools. Immutable; pools live on from table to table, so that what is known of
//! their members does. A large table is made in steps, and of what has changed alone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::RosterRules;
use super::census::{Census, Told};
use super::groups::{Group, alike, entries, grouped, say_the_same};
use super::model::{Model, Source};
use super::route::Route;
use super::station::Seen;
use super::steps::Steps;
use crate::balance::member::Member;
use crate::balance::pool::{Pool, Tactics};
use crate::error::{Error, Kind, Result};
use crate::infer::{ModelName, Target, VersionChoice};

/// Models and their pools.
#[derive(Default)]
pub(super) struct Table {
    models: HashMap<ModelName, Made>,
    /// All endpoints.
    groups: Vec<Arc<Group>>,
    /// How many backends there are, and how many of them have said what they serve.
    backends: usize,
    surveyed: usize,
}

/// A model, and those that say something of it. Tables share it for as long as they say the same.
struct Made {
    model: Arc<Model>,
    groups: Vec<Arc<Group>>,
}

/// All that a table is made from, as it was at one moment.
pub(super) struct Heard {
    /// By address, ascending.
    pub(super) endpoints: Vec<(Arc<Seen>, Arc<Census>)>,
}

impl Table {
    /// The table for what was heard, with the pools of this one as far as there are any. Nothing changes for calls until
    /// [`Table::take_effect`]: one that was not made to the end leaves no trace.
    pub(super) async fn next(&self, heard: Heard, rules: &RosterRules, now: Instant) -> Table {
        let Heard { endpoints } = heard;
        let backends = endpoints.len();
        let surveyed = endpoints.iter().filter(|(_, census)| census.taken).count();
        let groups = grouped(endpoints, &self.groups);
        let mut steps = Steps::default();
        let mut serving: HashMap<&ModelName, Vec<Arc<Group>>> = HashMap::with_capacity(self.models.len());
        for group in &groups {
            group.census.models.keys().for_each(|name| serving.entry(name).or_default().push(group.clone()));
            steps.looked_at(group.census.models.len()).await;
        }
        let mut models = HashMap::with_capacity(serving.len());
        for (name, groups) in serving {
            let (made, looked_at) = self.made(name, groups, rules, now);
            models.insert(name.clone(), made);
            steps.looked_at(looked_at).await;
        }
        Table { models, groups, backends, surveyed }
    }

    /// The model for those groups, and at how many endpoints was looked for that.
    fn made(&self, name: &ModelName, groups: Vec<Arc<Group>>, rules: &RosterRules, now: Instant) -> (Made, usize) {
        let before = self.models.get(name);
        if let Some(before) = before.filter(|before| alike(&before.groups, &groups)) {
            return (Made { model: before.model.clone(), groups }, 1);
        }
        let entries = entries(name, &groups);
        let looked_at = entries.len();
        let same = |before: &&Made| say_the_same(&self::entries(name, &before.groups), &entries);
        let model = match before.filter(same) {
            Some(before) => before.model.clone(),
            None => {
                let source = Source { name, groups: &groups, entries: &entries };
                Arc::new(Model::of(&source, before.map(|before| &*before.model), rules, now))
            }
        };
        drop(entries);
        (Made { model, groups }, looked_at)
    }

    /// Has pools lead to whom this table says, which comes after `before`. To be called right before it is exchanged for
    /// that.
    pub(super) fn take_effect(&self, before: &Table) {
        for (name, made) in &self.models {
            match before.models.get(name) {
                // Whoever waits is told of connections that come and go, too.
                Some(before) if Arc::ptr_eq(&before.model, &made.model) => made.model.tactics.bell.ring(),
                _ => made.model.take_effect(),
            }
        }
    }

    /// Ends a table that nobody reads any more.
    pub(super) async fn dismantle(self) {
        let mut steps = Steps::default();
        for made in self.models.into_values() {
            // Nearly always the next table has it.
            if let Some(model) = Arc::into_inner(made.model) {
                let count = model.len();
                drop(model);
                steps.looked_at(count).await;
            }
        }
    }

    /// Where a call goes.
    pub(super) fn resolve(&self, target: &Target) -> Result<Route> {
        let Some(Made { model, .. }) = self.models.get(&target.name) else { return Err(self.unknown(target)) };
        let way = match &target.version {
            VersionChoice::Latest => Some(&model.any),
            VersionChoice::Exact(version) => model.versions.get(version),
            VersionChoice::Label(_) => {
                let message = format!("model {target}: labels of versions are not known here: name the version");
                return Err(Error::unsupported(message));
            }
        };
        match way {
            Some(way) if !way.route.pool.members().is_empty() => Ok(way.route.clone()),
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
    pub(super) async fn watch(&self) {
        let mut steps = Steps::default();
        for made in self.models.values() {
            made.model.watch(&mut steps).await;
        }
    }

    /// Each model with what its pools share and who is in them.
    pub(super) fn models(&self) -> impl Iterator<Item = (&ModelName, &Arc<Tactics>, &Arc<Pool>)> {
        self.models.iter().map(|(name, Made { model, .. })| (name, &model.tactics, &model.any.route.pool))
    }

    pub(super) fn told(&self) -> Vec<Told> {
        let mut told: Vec<Told> = self.models.values().flat_map(|made| made.model.told.iter().cloned()).collect();
        told.sort_by(|one, other| (&one.name, one.version).cmp(&(&other.name, other.version)));
        told
    }

    /// The member of each model that an endpoint is.
    pub(super) fn members_at(&self, address: SocketAddr) -> impl Iterator<Item = (&ModelName, &Arc<Member>)> {
        self.models.iter().filter_map(move |(name, made)| Some((name, made.model.member_at(address)?)))
    }

    #[cfg(test)]
    pub(super) fn model(&self, name: &str) -> &Arc<Model> {
        &self.models[name].model
    }
}
