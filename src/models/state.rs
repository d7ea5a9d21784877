//! The states of a model's versions, and pure functions from one to the next.
//!
//! *Loading* ends ready or broken. *Ready* is exchanged for another ready one, serves on beside the reason why an
//! exchange failed, or ends unloaded. *Broken* and *unloaded* end with the next load.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;

use super::policy::VersionLabels;
use super::served::Served;
use super::work::{Outcome, Work};
use crate::infer::{Infer, Version};

/// Why something is not served, for clients. Short enough for a trailer.
pub(super) type Reason = ByteString;

/// The longest reason.
const LONGEST_REASON: usize = 1000;
/// What the index says of a version that was unloaded.
pub(super) const UNLOADED: &str = "unloaded";

/// A reason, cut where it is too long.
pub(super) fn reason(text: &str) -> Reason {
    ByteString::from(&text[..text.floor_char_boundary(LONGEST_REASON)])
}

/// One model: the versions that are or were wanted.
#[derive(Debug, Clone)]
pub(super) struct Model<S: Infer> {
    pub(super) versions: BTreeMap<Version, State<S>>,
    pub(super) labels: VersionLabels,
    /// Why the last load of the model as a whole failed, before it came to any version.
    pub(super) failure: Option<Reason>,
}

/// One version.
#[derive(Debug, Clone)]
pub(super) enum State<S: Infer> {
    Loading,
    Ready { served: Arc<Served<S>>, failure: Option<Reason> },
    Broken(Reason),
    Unloaded,
}

impl<S: Infer> Model<S> {
    fn nothing() -> Model<S> {
        Model { versions: BTreeMap::new(), labels: VersionLabels::default(), failure: None }
    }

    /// The state while `work` is done: what serves goes on serving.
    pub(super) fn begun(current: Option<&Model<S>>, work: &Work) -> Model<S> {
        let mut model = current.cloned().unwrap_or_else(Model::nothing);
        for plan in &work.load {
            let state = model.versions.entry(plan.version).or_insert(State::Loading);
            if !matches!(state, State::Ready { .. }) {
                *state = State::Loading;
            }
        }
        model
    }

    /// The state after `work`, and what no longer serves. Where any of it failed nothing is taken away that serves.
    pub(super) fn settled(&self, work: &Work, outcomes: Vec<Outcome<S>>) -> (Model<S>, Vec<Arc<Served<S>>>) {
        let broken = work.broken.iter().map(|(version, reason)| (*version, Err(reason.clone())));
        let outcomes: Vec<Outcome<S>> = outcomes.into_iter().chain(broken).collect();
        let failed = outcomes.iter().any(|(_, outcome)| outcome.is_err());
        let mut versions: BTreeMap<Version, State<S>> = BTreeMap::new();
        for (version, state) in &self.versions {
            let keep = work.keep.contains(version);
            let next = if keep { Some(state.cleared()) } else { state.left_out(failed, work.there.contains(version)) };
            versions.extend(next.map(|next| (*version, next)));
        }
        for (version, outcome) in outcomes {
            versions.insert(version, State::after(self.versions.get(&version), outcome));
        }
        let labels = if failed && self.serves() { &self.labels } else { &work.labels };
        let next = Model { versions, labels: labels.clone(), failure: None };
        let retired = self.served_but_not_in(&next);
        (next, retired)
    }

    /// The state after a load that did not come to any version: what serves goes on serving.
    pub(super) fn failed(current: Option<&Model<S>>, reason: Reason) -> Model<S> {
        let mut model = current.cloned().unwrap_or_else(Model::nothing);
        model.versions.retain(|_, state| matches!(state, State::Ready { .. }));
        Model { failure: Some(reason), ..model }
    }

    /// The state without anything that serves, and what no longer does.
    pub(super) fn unloaded(&self) -> (Model<S>, Vec<Arc<Served<S>>>) {
        let versions = self.versions.keys().map(|version| (*version, State::Unloaded)).collect();
        let next = Model { versions, labels: self.labels.clone(), failure: None };
        let retired = self.served_but_not_in(&next);
        (next, retired)
    }

    /// Versions that serve, in rising order.
    pub(super) fn ready(&self) -> impl DoubleEndedIterator<Item = &Arc<Served<S>>> {
        self.versions.values().filter_map(State::served)
    }

    fn serves(&self) -> bool {
        self.ready().next().is_some()
    }

    /// Whether it serves in some version, or was unloaded and is meant not to. A version that is being loaded, or could
    /// not be, beside one that serves takes nothing away.
    pub(super) fn is_ready(&self) -> bool {
        let unloaded = self.versions.values().all(|state| matches!(state, State::Unloaded)) && self.failure.is_none();
        self.serves() || unloaded
    }

    fn served_but_not_in(&self, next: &Model<S>) -> Vec<Arc<Served<S>>> {
        let stays = |served: &Arc<Served<S>>| next.ready().any(|other| Arc::ptr_eq(served, other));
        self.ready().filter(|served| !stays(served)).cloned().collect()
    }
}

impl<S: Infer> State<S> {
    /// What became of a version that was to be loaded: an old one serves on where the new one failed.
    fn after(old: Option<&State<S>>, outcome: Result<Arc<Served<S>>, Reason>) -> State<S> {
        match (outcome, old.and_then(State::served)) {
            (Ok(served), _) => State::Ready { served, failure: None },
            (Err(why), Some(served)) => State::Ready { served: served.clone(), failure: Some(why) },
            (Err(why), None) => State::Broken(why),
        }
    }

    /// The same, with nothing to say against it.
    fn cleared(&self) -> State<S> {
        match self {
            State::Ready { served, .. } => State::Ready { served: served.clone(), failure: None },
            other => other.clone(),
        }
    }

    /// What becomes of a version that a load did not want. Only one that is still on disk is worth a line of the index.
    fn left_out(&self, failed: bool, there: bool) -> Option<State<S>> {
        match self {
            State::Ready { .. } if failed => Some(self.clone()),
            State::Ready { .. } | State::Unloaded if there => Some(State::Unloaded),
            _ => None,
        }
    }

    pub(super) fn served(&self) -> Option<&Arc<Served<S>>> {
        match self {
            State::Ready { served, .. } => Some(served),
            State::Loading | State::Broken(_) | State::Unloaded => None,
        }
    }
}

#[cfg(test)]
mod tests;
