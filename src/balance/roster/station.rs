//! One backend of the roster: dialled, and asked what it serves.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::RosterRules;
use super::census::{Census, Taken};
use crate::balance::endpoint::{Endpoint, Kept};
use crate::discover::Backend;

/// A backend that is kept connected. Dropping it ends that.
pub(super) struct Station {
    pub(super) backend: Backend,
    pub(super) census: Census,
    pub(super) since: Instant,
    /// When it was asked for what is known of it.
    asked: Instant,
    kept: Kept,
    soon: Arc<Notify>,
}

/// What a survey holds of its station.
pub(super) struct Surveyed {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) soon: Arc<Notify>,
}

impl Station {
    pub(super) fn start(backend: Backend, rules: &RosterRules, now: Instant) -> Station {
        let kept = Kept::start(&backend, rules.dial.clone(), Arc::new(rules.endpoint.clone()));
        Station { backend, census: Census::default(), since: now, asked: now, kept, soon: Arc::default() }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.kept.endpoint()
    }

    pub(super) fn surveyed(&self) -> Surveyed {
        Surveyed { endpoint: self.endpoint().clone(), soon: self.soon.clone() }
    }

    /// Takes what a survey found that asked at `asked`, unless another that asked later was faster. Whether anything is
    /// new.
    pub(super) fn note(&mut self, taken: Taken, asked: Instant) -> bool {
        if asked < self.asked {
            return false;
        }
        self.asked = asked;
        self.census.take(taken)
    }

    /// Has it asked soon what it serves.
    pub(super) fn survey_soon(&self) {
        self.soon.notify_one();
    }
}
