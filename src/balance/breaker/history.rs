//! How an endpoint came into its state: what is told of it, and what its next ejection costs.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use super::changes::Change;
use super::penalty::Penalty;

/// What an endpoint is ejected for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// So many calls failed one after the other.
    InARow { calls: u32, last: String },
    /// So many of the calls of the window failed.
    Rate { failed: u64, calls: u64, last: String },
    /// Nothing was heard for so long although calls wait.
    Silent { silent: Duration, calls: u32 },
    /// It said itself that it is stopping.
    Stopping { last: String },
    /// The probe failed.
    Probe { last: String },
}

impl Fault {
    /// Whether it is that of an endpoint that does not answer, so that any answer is news.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Fault::Silent { .. })
    }

    /// What it is counted as.
    pub(super) fn change(&self) -> Change {
        match self {
            Fault::InARow { .. } => Change::InARow,
            Fault::Rate { .. } => Change::Rate,
            Fault::Silent { .. } => Change::Silence,
            Fault::Stopping { .. } => Change::Stopping,
            Fault::Probe { .. } => Change::Probe,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::InARow { calls, last } => write!(f, "{calls} calls in a row failed, the last with \"{last}\""),
            Fault::Rate { failed, calls, last } => {
                write!(f, "{failed} of {calls} calls within 10 s failed, the last with \"{last}\"")
            }
            Fault::Silent { silent, calls } => write!(f, "nothing heard for {silent:.1?}, calls that wait: {calls}"),
            Fault::Stopping { last } => write!(f, "it is stopping: \"{last}\""),
            Fault::Probe { last } => write!(f, "the probe failed with \"{last}\""),
        }
    }
}

/// The part of a breaker that changes only with its state.
#[derive(Debug)]
pub(super) struct History {
    /// Since when the state is what it is.
    pub(super) since: Instant,
    /// Why.
    pub(super) why: Cow<'static, str>,
    /// What share of calls an ejected endpoint is thought to answer, as long as nothing newer is known.
    pub(super) hope: f64,
    /// Whether it was ejected because nothing was heard of it.
    pub(super) silent: bool,
    /// Whether the next probe comes before its time because nobody admits.
    pub(super) hurried: bool,
    /// The number of the last probe.
    pub(super) probes: u64,
    pub(super) penalty: Penalty,
}

impl History {
    pub(super) fn new(seed: u64, now: Instant) -> History {
        let (why, penalty) = ("it is new".into(), Penalty::new(seed));
        History { since: now, why, hope: 0.0, silent: false, hurried: false, probes: 0, penalty }
    }

    /// The state is another from now on.
    pub(super) fn turn(&mut self, now: Instant, why: impl Into<Cow<'static, str>>) {
        (self.since, self.why) = (now, why.into());
    }
}
