//! One backend of the roster: dialled, and asked what it serves.

use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::RosterRules;
use super::census::Census;
use crate::balance::endpoint::{Connectivity, Endpoint, Kept};
use crate::discover::Backend;

/// A backend that is kept connected. Dropping it ends that.
pub(super) struct Station {
    pub(super) backend: Backend,
    pub(super) census: Census,
    pub(super) since: Instant,
    kept: Kept,
    soon: Arc<Notify>,
}

/// What a survey holds of its station.
pub(super) struct Surveyed {
    /// Weak, so that a survey ends with its station.
    pub(super) endpoint: Weak<Endpoint>,
    pub(super) connectivity: watch::Receiver<Connectivity>,
    pub(super) soon: Arc<Notify>,
}

impl Station {
    pub(super) fn start(backend: Backend, rules: &RosterRules, now: Instant) -> Station {
        let kept = Kept::start(&backend, rules.dial.clone(), Arc::new(rules.endpoint.clone()));
        Station { backend, census: Census::default(), since: now, kept, soon: Arc::default() }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.kept.endpoint()
    }

    pub(super) fn surveyed(&self) -> Surveyed {
        let endpoint = self.endpoint();
        Surveyed { endpoint: Arc::downgrade(endpoint), connectivity: endpoint.connectivity(), soon: self.soon.clone() }
    }

    /// Has it asked soon what it serves.
    pub(super) fn survey_soon(&self) {
        self.soon.notify_one();
    }
}
