//! What a call holds while it is at an endpoint.

use std::sync::Arc;
use std::time::Instant;

use super::Breaker;
use crate::error::Error;

/// A call that a breaker let in. It ends in one of three ways, and dropped it was abandoned: then it says nothing of the
/// endpoint, and a probe frees its place.
#[derive(Debug)]
#[must_use = "a pass that is dropped at once was an abandoned call"]
pub struct Pass {
    breaker: Arc<Breaker>,
    began: Instant,
    probe: Option<u64>,
    ended: bool,
}

impl Pass {
    pub(super) fn new(breaker: Arc<Breaker>, began: Instant, probe: Option<u64>) -> Pass {
        Pass { breaker, began, probe, ended: false }
    }

    /// Whether the call decides over its endpoint's return.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// It was answered well.
    pub fn succeeded(mut self, now: Instant) {
        self.ended = true;
        self.breaker.succeeded(self.probe, now);
    }

    /// It failed with this, at the endpoint or on its way there. [`Kind::Late`](crate::error::Kind::Late) means that no
    /// answer came; an endpoint that says itself that the deadline has passed is alive and has too much to do, and that
    /// is [`Kind::Overloaded`](crate::error::Kind::Overloaded).
    pub fn failed(mut self, error: &Error, now: Instant) {
        self.ended = true;
        self.breaker.failed(self.probe, error, self.began, now);
    }

    /// Nobody waits for it any more: its caller left, or another attempt was faster. It says something of the endpoint
    /// only where it waited longer than nearly all calls take.
    pub fn abandoned(mut self, now: Instant) {
        self.ended = true;
        self.breaker.unanswered(self.probe, self.began, now);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.forgotten(self.probe);
        }
    }
}
