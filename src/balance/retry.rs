//! Whether a call that failed on one endpoint is tried on another. It never waits and sends nothing itself.

use std::time::{Duration, Instant};

use super::budget::RetryBudget;
use crate::error::{Error, Kind, Retry};

/// Whether an attempt may have been executed, as far as the connection knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// Surely not: the connection did not stand, the stream was refused (`REFUSED_STREAM`, or above the last stream of a
    /// GOAWAY), or the worker answered that it did not let the call in.
    Never,
    /// Its request was sent, and what became of it is not known.
    Maybe,
}

/// For whom an answer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// A worker, for itself: another has room where it has none.
    ForItself,
    /// A gateway, for all that are behind it: another gateway would lead to the same.
    ForAll,
}

/// An attempt that failed, and what is known when the next one would begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attempt {
    /// Which attempt of the call it was, from one on.
    pub number: u32,
    /// Whether it may have been executed.
    pub ran: Ran,
    /// Whether the model is pure: executing a call twice is as good as once.
    pub pure: bool,
    /// How much time the call has until its deadline.
    pub left: Duration,
    /// How long it is predicted to take on another endpoint, waiting there included.
    pub predicted: Duration,
    /// For whom the one that answered speaks.
    pub answer: Speaks,
    /// How often a tier in front of this one had tried the call before it came here (its `grpc-previous-rpc-attempts`).
    pub earlier: u32,
}

/// What to do with a call whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try it on another endpoint, never on the same, after so long.
    Again {
        /// Zero unless a whole fleet asked for time.
        after: Duration,
    },
    /// Answer the failure.
    GiveUp(GiveUp),
}

/// Why a call is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// It would fail again.
    Useless,
    /// Whoever answered said not to try again: a negative pushback. So does an inner tier that has tried already.
    Forbidden,
    /// A tier in front tries again by itself; if each did, tries would multiply by tier.
    TierInFront,
    /// It may have run, and the model is not pure.
    MayHaveRun,
    /// It was tried often enough.
    TriedEnough,
    /// It would be late.
    NoTime,
    /// The budget is used up.
    NoBudget,
}

/// No call is sent more often than this: two of a fleet lost at once are hidden, and a call that takes down whoever
/// runs it takes down three. (gRFC A6 allows five, where each waits longer than the one before.)
const MOST_ATTEMPTS: u32 = 3;

/// What to do with a call whose `attempt` failed with `error`. Unless it answers [`Next::Again`] nothing is taken out of
/// the budget.
///
/// What surely never ran is tried again once, for nothing; again after that, and when it was load that refused it, out
/// of the budget: free tries would double the refusals just when there is too much to do. What may have run is tried
/// again only for a pure model, and out of the budget.
///
/// A pushback for which a worker speaks does not delay the attempt on another; one for which a gateway speaks does.
pub fn decide(error: &Error, attempt: &Attempt, budget: &RetryBudget, now: Instant) -> Next {
    let after = match attempt.answer {
        Speaks::ForItself => Duration::ZERO,
        Speaks::ForAll => error.retry_after().unwrap_or_default(),
    };
    if let Some(why) = objection(error, attempt, after) {
        return Next::GiveUp(why);
    }
    if is_free(error.kind(), attempt) || budget.withdraw(now) {
        Next::Again { after }
    } else {
        Next::GiveUp(GiveUp::NoBudget)
    }
}

/// What speaks against another attempt, whatever is in the budget.
fn objection(error: &Error, attempt: &Attempt, after: Duration) -> Option<GiveUp> {
    let objections = [
        (error.kind().retry() == Retry::Never, GiveUp::Useless),
        (error.forbids_retry(), GiveUp::Forbidden),
        (attempt.earlier > 0, GiveUp::TierInFront),
        (attempt.ran == Ran::Maybe && !attempt.pure, GiveUp::MayHaveRun),
        (attempt.number >= MOST_ATTEMPTS, GiveUp::TriedEnough),
        (attempt.left < attempt.predicted.saturating_add(after), GiveUp::NoTime),
    ];
    objections.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}

fn is_free(kind: Kind, attempt: &Attempt) -> bool {
    attempt.ran == Ran::Never && attempt.number == 1 && kind != Kind::Overloaded
}

#[cfg(test)]
mod tests;
