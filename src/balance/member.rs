//! An endpoint as a member of one model's pool: how busy it is with that model, and whether it is to be trusted with it.
//! Endpoints are shared by the pools of all models that they serve; a model that fails in one place says nothing of the
//! others there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::breaker::{Breaker, Changes, Pass};
use super::ejection::Standing;
use super::endpoint::Endpoint;
use super::load::{self, Load, Outcome};
use super::pick::Candidate;
use crate::error::{Blame, Error, Kind};
use crate::infer::{LoadReport, Why};

/// What a failed call is taken to have cost beyond its time, at least (Linkerd's figure for its penalty).
const PENALTY: Duration = Duration::from_secs(5);
/// The same for a call that was refused for want of room: that is no fault, and passes.
const REFUSED: Duration = Duration::from_millis(100);

/// One endpoint for one model.
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Whether it is to be trusted with calls of the model.
    pub breaker: Arc<Breaker>,
    load: Load,
    /// Rung when a call has ended.
    bell: Arc<Bell>,
}

impl Member {
    /// A member that nothing is known of but its `load`.
    pub fn new(endpoint: Arc<Endpoint>, load: Load, now: Instant) -> Member {
        Member { endpoint, breaker: Breaker::new(fastrand::u64(..), now), load, bell: Arc::default() }
    }

    /// The same, where `bell` is rung with each call that has ended.
    pub(super) fn ringing(self, bell: Arc<Bell>) -> Member {
        Member { bell, ..self }
    }

    /// The same, whose breaker's changes are counted there.
    pub(super) fn counted_in(self, changes: Arc<Changes>, now: Instant) -> Member {
        Member { breaker: Breaker::counted(fastrand::u64(..), changes, now), ..self }
    }

    /// How the pool's rules about ejections see it.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        if self.endpoint.is_reachable() { self.breaker.standing(now) } else { Standing::Dead }
    }

    /// Lets a call of so many rows in, or not.
    pub(super) fn enter(self: &Arc<Self>, rows: u32, now: Instant) -> Option<Sent> {
        let pass = self.breaker.enter(now)?;
        let held = Some((pass, self.load.start(rows, now)));
        Some(Sent { member: self.clone(), why: Why::First, held })
    }

    fn end(&self, sent: load::Sent, outcome: Outcome<'_>, now: Instant) {
        self.load.end(sent, outcome, now);
        self.bell.ring();
    }
}

impl Candidate for Arc<Member> {
    fn load(&self) -> &Load {
        &self.load
    }

    fn admits(&self, now: Instant) -> bool {
        self.endpoint.is_reachable() && self.breaker.admits(now)
    }
}

/// A call at a member. Dropped it was abandoned.
pub(super) struct Sent {
    pub(super) member: Arc<Member>,
    /// Why it is sent there.
    pub(super) why: Why,
    /// There until the end is told.
    held: Option<(Pass, load::Sent)>,
}

impl Sent {
    /// The same, for this reason.
    pub(super) fn because(self, why: Why) -> Sent {
        let mut sent = self;
        sent.why = why;
        sent
    }

    /// Whether it is to find out whether the member can be trusted again.
    pub(super) fn is_probe(&self) -> bool {
        self.held.as_ref().is_some_and(|(pass, _)| pass.is_probe())
    }

    /// It has so many rows and not as many as it was let in with. Nothing of it was sent yet.
    pub(super) fn resize(&mut self, rows: u32) {
        if let Some((_, sent)) = &mut self.held {
            self.member.load.resize(sent, rows);
        }
    }

    /// It was answered well, with a report where the endpoint makes them.
    pub(super) fn answered(mut self, report: Option<&LoadReport>, now: Instant) {
        if let Some((pass, sent)) = self.held.take() {
            pass.succeeded(now);
            self.member.end(sent, Outcome::Answered(report), now);
        }
    }

    /// It failed.
    pub(super) fn failed(mut self, error: &Error, now: Instant) {
        let Some((pass, sent)) = self.held.take() else { return };
        pass.failed(error, now);
        let outcome = match error.kind() {
            Kind::Overloaded => Outcome::Failed { penalty: error.retry_after().unwrap_or(REFUSED) },
            // An answer as good as any other, as far as the endpoint goes.
            kind if kind.blame() == Blame::Caller => Outcome::Answered(None),
            _ => Outcome::Failed { penalty: error.retry_after().unwrap_or_default().max(PENALTY) },
        };
        self.member.end(sent, outcome, now);
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some((pass, sent)) = self.held.take() {
            let now = super::now();
            pass.abandoned(now);
            self.member.end(sent, Outcome::Abandoned, now);
        }
    }
}
