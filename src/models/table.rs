//! The table of what is served, as calls and clients see it.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use bytestring::ByteString;

use super::served::Served;
use super::state::{Model, State, UNLOADED};
use crate::error::{Error, Kind, Result};
use crate::infer::{Infer, ModelName, Target, Version, VersionChoice};

/// Every model that is known. Never changed: a change makes another table.
#[derive(Debug, Clone)]
pub(super) struct Table<S: Infer> {
    models: HashMap<ModelName, Arc<Model<S>>>,
    /// Whether the repository was looked at as a whole.
    scanned: bool,
}

/// What a version is, for those who ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionState {
    /// It is being loaded, and none of it serves yet.
    Loading,
    /// It serves.
    Ready,
    /// It does not serve: it could not be loaded, or was unloaded.
    Unavailable,
}

/// A line of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The model.
    pub name: ModelName,
    /// The version; `None` for a model that never came to have one.
    pub version: Option<Version>,
    /// What it is.
    pub state: VersionState,
    /// Why it does not serve; of one that does, why a later one could not take its place. Empty where all is well.
    pub reason: ByteString,
    /// A number for all of it that gateways go by, where it serves; see [`Served::nature`].
    pub nature: Option<NonZeroU64>,
}

impl IndexEntry {
    /// Whether somebody took it out of service.
    pub fn is_unloaded(&self) -> bool {
        self.state == VersionState::Unavailable && *self.reason == *UNLOADED
    }
}

impl<S: Infer> Table<S> {
    pub(super) fn empty() -> Table<S> {
        Table { models: HashMap::new(), scanned: false }
    }

    /// The same with one model exchanged.
    pub(super) fn with(&self, name: &ModelName, model: Arc<Model<S>>) -> Table<S> {
        let mut table = self.clone();
        table.models.insert(name.clone(), model);
        table
    }

    /// The same after a look at the whole repository: models that were not known yet are added.
    pub(super) fn with_new(&self, models: &[(ModelName, Arc<Model<S>>)]) -> Table<S> {
        let mut table = self.clone();
        for (name, model) in models {
            table.models.entry(name.clone()).or_insert_with(|| model.clone());
        }
        Table { scanned: true, ..table }
    }

    pub(super) fn get(&self, name: &ModelName) -> Option<&Arc<Model<S>>> {
        self.models.get(name)
    }

    /// What serves a call.
    pub(super) fn resolve(&self, target: &Target) -> Result<&Arc<Served<S>>> {
        let name = &target.name;
        let Some(model) = self.models.get(name) else {
            return Err(self.unknown(name));
        };
        let served = match &target.version {
            VersionChoice::Latest => model.latest(),
            VersionChoice::Exact(version) => model.exact(*version),
            VersionChoice::Label(label) => model.labelled(label),
        };
        served.map_err(|error| Error::new(error.kind(), format!("model {target} {error}")))
    }

    /// Nobody may conclude that there is no such model from a process that has not looked yet: a worker that comes back
    /// is called by gateways that know what it had.
    fn unknown(&self, name: &ModelName) -> Error {
        let name = name.as_str();
        match self.scanned {
            true => Error::new(Kind::UnknownModel, format!("model {name:?} is not known")),
            false => not_ready(format!("model {name:?} is not known yet: models are being looked for")),
        }
    }

    /// Every version that serves, sorted.
    pub(super) fn served(&self) -> Vec<Arc<Served<S>>> {
        let mut served: Vec<Arc<Served<S>>> = self.models.values().flat_map(|model| model.ready()).cloned().collect();
        served.sort_by(|left, right| (&left.name, left.version).cmp(&(&right.name, right.version)));
        served
    }

    /// Every version of every model, sorted.
    pub(super) fn index(&self) -> Vec<IndexEntry> {
        let mut entries: Vec<IndexEntry> = self.models.iter().flat_map(|(name, model)| model.index(name)).collect();
        entries.sort_by(|left, right| (&left.name, left.version).cmp(&(&right.name, right.version)));
        entries
    }

    /// Whether every model serves that is meant to.
    pub(super) fn is_ready(&self) -> bool {
        self.scanned && self.models.values().all(|model| model.is_ready())
    }
}

/// Refusals here go on after the name of what was asked for: `is not known`.
impl<S: Infer> Model<S> {
    fn latest(&self) -> Result<&Arc<Served<S>>> {
        if let Some(served) = self.ready().next_back() {
            return Ok(served);
        }
        match self.versions.last_key_value() {
            Some((version, state)) => Err(not_ready(format!("(version {version}) is not ready: {}", reason_of(state)))),
            None => Err(self.not_ready()),
        }
    }

    fn exact(&self, version: Version) -> Result<&Arc<Served<S>>> {
        match self.versions.get(&version) {
            Some(State::Ready { served, .. }) => Ok(served),
            Some(state) => Err(not_ready(format!("is not ready: {}", reason_of(state)))),
            None if self.versions.is_empty() => Err(self.not_ready()),
            None => Err(Error::new(Kind::UnknownModel, "is not known")),
        }
    }

    fn labelled(&self, label: &str) -> Result<&Arc<Served<S>>> {
        match self.labels.get(label) {
            Some(version) => {
                self.exact(version).map_err(|error| Error::new(error.kind(), format!("(version {version}) {error}")))
            }
            None if self.versions.is_empty() => Err(self.not_ready()),
            None => Err(Error::new(Kind::UnknownModel, "is not known")),
        }
    }

    /// Of a model that has no version.
    fn not_ready(&self) -> Error {
        not_ready(format!("is not ready: {}", self.failure.as_deref().unwrap_or(UNLOADED)))
    }

    fn index(&self, name: &ModelName) -> Vec<IndexEntry> {
        let entry = |version, state, reason: &str| {
            let (name, reason) = (name.clone(), reason.into());
            IndexEntry { name, version, state, reason, nature: None }
        };
        if self.versions.is_empty() {
            let reason = self.failure.as_deref().unwrap_or(UNLOADED);
            return vec![entry(None, VersionState::Unavailable, reason)];
        }
        let line = |(version, state): (&Version, &State<S>)| {
            let (stands, failure) = match state {
                State::Ready { failure, .. } => (VersionState::Ready, failure.as_ref().or(self.failure.as_ref())),
                State::Loading => (VersionState::Loading, None),
                State::Broken(_) | State::Unloaded => (VersionState::Unavailable, None),
            };
            let failure = failure.map(|reason| format!("serves, but a later load failed: {reason}"));
            let nature = state.served().map(|served| served.nature);
            IndexEntry { nature, ..entry(Some(*version), stands, failure.as_deref().unwrap_or(reason_of(state))) }
        };
        self.versions.iter().map(line).collect()
    }
}

/// Why a version does not serve, if it does not.
fn reason_of<S: Infer>(state: &State<S>) -> &str {
    match state {
        State::Loading => "loading",
        State::Ready { .. } => "",
        State::Broken(reason) => reason,
        State::Unloaded => UNLOADED,
    }
}

fn not_ready(message: String) -> Error {
    Error::new(Kind::NotReady, message)
}

#[cfg(test)]
mod tests;
