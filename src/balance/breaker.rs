//! Keeps calls away from an endpoint that fails them, and lets them back in when it no longer does.
//!
//! * `Admitting`: calls go to it. It is ejected by [`CONSECUTIVE`] failures in a row, by a success rate under
//!   [`SUCCESS_RATE`] within ten seconds, by silence (see [`patience`]), or by its own word that it is stopping.
//! * `Ejected`: no calls, for a time that doubles with each failure. Then the next call that is led to it is a probe.
//! * `Probing`: one call is under way, and it decides: answered, the endpoint admits again; failed, or refused for want
//!   of room, it is ejected for longer; abandoned, the next call is the probe.
//!
//! A call that goes well takes no lock. It counts against an endpoint only what the endpoint does: callers' mistakes are
//! neither failures nor successes, so that no caller can have it ejected nor keep a broken one in.

mod change;
mod changes;
mod history;
mod pass;
mod penalty;
mod silence;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use history::History;
use silence::Silence;

use super::ejection::Standing;
use super::window::Window;
pub use changes::{Change, Changes};
pub use pass::Pass;
pub use silence::patience;

/// So many failures in a row eject (Envoy's figure; Linkerd takes 7). An endpoint that fails half of its calls is found
/// so within some 60 of them, one that fails a fifth only within some 4000: that is what the rate is for.
pub const CONSECUTIVE: u32 = 5;

/// A success rate below this ejects: of more than a fifth of calls the budget cannot hide the failures.
pub const SUCCESS_RATE: f64 = 0.8;

/// The rate means something from so many calls on: of an endpoint that fails one in twenty by chance, fewer than one
/// window in a thousand looks worse than [`SUCCESS_RATE`].
const LEAST_CALLS: u64 = 30;

/// The window of the rate, in seconds. An exact quotient over it and not a moving average, which can hide a burst of
/// failures (Linkerd's reason).
const SECONDS: usize = 10;

/// After an ejection the rate is known anew from so many calls on.
const FEW_CALLS: u64 = 5;

/// Where nobody admits, each endpoint is tried so often.
const HURRIED: Duration = Duration::from_millis(100);

/// In which state an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Calls go to it.
    Admitting,
    /// No calls go to it.
    Ejected {
        /// From then on the next call is a probe.
        until: Instant,
    },
    /// One call is under way to see whether it answers.
    Probing,
}

/// What a breaker says to a call that might be led to its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may go there.
    Open,
    /// It may go there as a probe. Whoever picks does well to prefer such an endpoint, or one that looks bad might never
    /// be tried again.
    Probe,
    /// It may not.
    Shut,
}

/// A breaker in words and numbers, for the listing of endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Why it came into it: a sentence without a full stop.
    pub why: String,
    /// The share of the calls of the last ten seconds, and since it was last ejected or admitted, that went well; `None`
    /// where there were none that count.
    pub success_rate: Option<f64>,
    /// Whether calls go to it although it is ejected, for the sake of the others.
    pub spared: bool,
    /// How long nothing was heard of it although calls wait; zero where none waits.
    pub silent_for: Duration,
}

/// The breaker of one endpoint.
#[derive(Debug)]
pub struct Breaker {
    start: Instant,
    /// [`ADMITTING`]; or, with [`PROBING`], the number of the probe that is under way; or until when it is ejected, in
    /// nanoseconds since the start and one. Read without a lock, changed with the history held.
    gate: AtomicU64,
    spared: AtomicBool,
    in_a_row: AtomicU32,
    successes: Window,
    failures: Window,
    silence: Silence,
    history: Mutex<History>,
    changes: Arc<Changes>,
}

const ADMITTING: u64 = 0;
const PROBING: u64 = 1 << 63;

impl Breaker {
    /// The breaker of a new endpoint, which admits. Breakers with different seeds do not probe at one time.
    pub fn new(seed: u64, now: Instant) -> Arc<Breaker> {
        Breaker::counted(seed, Arc::default(), now)
    }

    /// The same, whose changes are counted there.
    pub fn counted(seed: u64, changes: Arc<Changes>, now: Instant) -> Arc<Breaker> {
        Arc::new(Breaker {
            start: now,
            gate: AtomicU64::new(ADMITTING),
            spared: AtomicBool::new(false),
            in_a_row: AtomicU32::new(0),
            successes: Window::new(now),
            failures: Window::new(now),
            silence: Silence::new(now),
            history: Mutex::new(History::new(seed, now)),
            changes,
        })
    }

    /// What it would say to a call now. One load where the endpoint admits, two where it does not.
    pub fn admission(&self, now: Instant) -> Admission {
        match self.gate.load(SeqCst) {
            ADMITTING => Admission::Open,
            gate if gate & PROBING == 0 && gate <= self.nanos(now) => Admission::Probe,
            _ if self.spared.load(SeqCst) => Admission::Open,
            _ => Admission::Shut,
        }
    }

    /// Whether a call may go there now.
    pub fn admits(&self, now: Instant) -> bool {
        self.admission(now) != Admission::Shut
    }

    /// Lets a call in, or not; another may have taken the place of the probe since it was asked. The pass is told how the
    /// call ended.
    pub fn enter(self: &Arc<Self>, now: Instant) -> Option<Pass> {
        let probe = match self.admission(now) {
            Admission::Open => None,
            Admission::Probe => Some(self.begin_probe(now)?),
            Admission::Shut => return None,
        };
        self.silence.begin(now);
        Some(Pass::new(self.clone(), now, probe))
    }

    /// Looks whether the endpoint has fallen silent; to be called several times a second. `p99` is what nearly all of
    /// its calls take, where that is known, the execution of what was asked of it included.
    pub fn watch(&self, p99: Option<Duration>, now: Instant) {
        self.silence.expect(p99);
        if self.silence.silent_for(now) > patience(p99) {
            self.fell_silent(patience(p99), now);
        }
    }

    /// A new connection to the endpoint stands: if it is ejected, the next call is a probe.
    pub fn reconnected(&self, now: Instant) {
        self.probe_from(&mut self.history(), now, false);
    }

    /// Nobody admits: this endpoint may be tried a tenth of a second after it was ejected, whatever its penalty. So the
    /// first answer after a fault of all of them is not a minute away, and still one call at a time is all that each
    /// gets. A probe that fails so makes the penalty no longer: the first endpoint to come back shall not be alone until
    /// penalties of a minute are over.
    pub fn hurry(&self, now: Instant) {
        let mut history = self.history();
        let earliest = (history.since + HURRIED).max(now);
        self.probe_from(&mut history, earliest, true);
    }

    /// Whether calls go to it even while it is ejected, because the others could not bear them (see
    /// [`relieve`](super::relieve)).
    pub fn spare(&self, spared: bool) {
        self.spared.store(spared, SeqCst);
    }

    /// What those who decide over all endpoints need to know of this one.
    pub fn standing(&self, now: Instant) -> Standing {
        if self.gate.load(SeqCst) == ADMITTING {
            return Standing::Admitting;
        }
        let success = self.rate(now, FEW_CALLS).unwrap_or_else(|| self.history().hope);
        Standing::Ejected { success }
    }

    /// How it is, and why.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let history = self.history();
        Snapshot {
            state: self.state(),
            since: history.since,
            why: history.why.to_string(),
            success_rate: self.rate(now, 1),
            spared: self.spared.load(SeqCst),
            silent_for: self.silence.silent_for(now),
        }
    }

    /// How long until a call may go there: zero where one may now, `None` where that hangs on the probe under way.
    pub fn opens_in(&self, now: Instant) -> Option<Duration> {
        match self.state() {
            _ if self.admits(now) => Some(Duration::ZERO),
            State::Ejected { until } => Some(until.saturating_duration_since(now)),
            State::Admitting | State::Probing => None,
        }
    }

    fn state(&self) -> State {
        match self.gate.load(SeqCst) {
            ADMITTING => State::Admitting,
            gate if gate & PROBING != 0 => State::Probing,
            gate => State::Ejected { until: self.start + Duration::from_nanos(gate - 1) },
        }
    }
}

#[cfg(test)]
mod tests;
