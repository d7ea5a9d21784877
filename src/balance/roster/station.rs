//! One backend of the roster: dialled, and asked what it serves.

use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::RosterRules;
use super::alike::Alike;
use super::census::{Census, Taken};
use crate::balance::endpoint::{Connectivity, Endpoint, Kept};
use crate::discover::Backend;

/// A backend that is kept connected. Dropping it ends that.
pub(super) struct Station {
    /// Another one, where anything of it has changed.
    pub(super) seen: Arc<Seen>,
    pub(super) census: Arc<Census>,
    pub(super) since: Instant,
    /// When it was asked for what is known of it.
    asked: Instant,
    kept: Kept,
    soon: Arc<Notify>,
}

/// An endpoint as it was discovered last: what tables are made from.
pub(super) struct Seen {
    pub(super) backend: Backend,
    pub(super) endpoint: Arc<Endpoint>,
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
        let seen = Arc::new(Seen { backend, endpoint: kept.endpoint().clone() });
        Station { seen, census: Arc::default(), since: now, asked: now, kept, soon: Arc::default() }
    }

    /// It was discovered to be otherwise.
    pub(super) fn change(&mut self, backend: Backend) {
        self.seen = Arc::new(Seen { backend, endpoint: self.endpoint().clone() });
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.seen.backend
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.kept.endpoint()
    }

    pub(super) fn surveyed(&self) -> Surveyed {
        let endpoint = self.endpoint();
        Surveyed { endpoint: Arc::downgrade(endpoint), connectivity: endpoint.connectivity(), soon: self.soon.clone() }
    }

    /// Takes what a survey found that asked at `asked`, unless another that asked later was faster. What it said before,
    /// where anything is new.
    pub(super) fn note(&mut self, taken: Taken, asked: Instant, alike: &Alike) -> Option<Arc<Census>> {
        if asked < self.asked {
            return None;
        }
        self.asked = asked;
        let census = self.census.after(taken);
        (census != *self.census).then(|| std::mem::replace(&mut self.census, alike.shared(census)))
    }

    /// Has it asked soon what it serves.
    pub(super) fn survey_soon(&self) {
        self.soon.notify_one();
    }
}
