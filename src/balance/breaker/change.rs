//! How the ends of calls change a breaker.

use std::mem;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::history::{Fault, History};
use super::silence::Unanswered;
use super::{ADMITTING, Breaker, CONSECUTIVE, Change, LEAST_CALLS, PROBING, SECONDS, SUCCESS_RATE};
use crate::error::{Error, Kind};

/// What is told of a call that nobody answered.
const NO_ANSWER: &str = "no answer in time";

/// What a failure says of the endpoint.
enum Meaning {
    /// It does not do its work.
    Failure,
    /// It is there, and has too much to do.
    Full,
    /// It is stopping and will answer no call any more.
    Stopping,
    /// It did not answer in time.
    Unanswered,
    /// Nothing: the caller asked for what cannot be had.
    Nothing,
}

fn meaning(kind: Kind) -> Meaning {
    use Kind::*;
    match kind {
        NotReady | NoBackend | BackendLost | Engine => Meaning::Failure,
        Overloaded => Meaning::Full,
        Draining => Meaning::Stopping,
        Late | Cancelled => Meaning::Unanswered,
        Invalid | UnknownModel | Unloadable | TooLarge | Unauthenticated | Forbidden | Unsupported => Meaning::Nothing,
    }
}

impl Breaker {
    /// Takes the place of the probe, if it is still free.
    pub(super) fn begin_probe(&self, now: Instant) -> Option<u64> {
        let mut history = self.history();
        let gate = self.gate.load(SeqCst);
        if gate == ADMITTING || gate & PROBING != 0 || gate > self.nanos(now) {
            return None;
        }
        history.probes += 1;
        history.turn(now, "its time out is over");
        let probe = PROBING | history.probes;
        self.gate.store(probe, SeqCst);
        Some(probe)
    }

    /// A call was answered well.
    pub(super) fn succeeded(&self, probe: Option<u64>, now: Instant) {
        self.silence.heard(now);
        self.successes.add(now);
        if self.in_a_row.load(SeqCst) > 0 {
            self.in_a_row.store(0, SeqCst);
        }
        let admitted = probe.is_some_and(|probe| self.end_probe(probe, None, now));
        // Whoever was thought dead and answers is worth a probe.
        if !admitted && self.gate.load(SeqCst) != ADMITTING {
            let mut history = self.history();
            if history.silent {
                self.probe_from(&mut history, now, false);
            }
        }
    }

    /// A call failed that began then.
    pub(super) fn failed(&self, probe: Option<u64>, error: &Error, began: Instant, now: Instant) {
        let (meaning, last) = (meaning(error.kind()), || shortened(error.message()));
        if matches!(meaning, Meaning::Unanswered) {
            return self.unanswered(probe, began, now);
        }
        self.silence.heard(now);
        let is_probe = probe.is_some_and(|probe| match meaning {
            Meaning::Nothing => self.free_probe(probe, "the probe failed by its caller's doing"),
            _ => self.end_probe(probe, Some(Fault::Probe { last: last() }), now),
        });
        match meaning {
            _ if is_probe => (),
            Meaning::Failure => self.count_failure(last(), now),
            Meaning::Stopping => self.eject(Fault::Stopping { last: last() }, now),
            Meaning::Full | Meaning::Nothing | Meaning::Unanswered => (),
        }
    }

    /// A call ended without an answer.
    pub(super) fn unanswered(&self, probe: Option<u64>, began: Instant, now: Instant) {
        let (unanswered, calls) = (self.silence.unanswered(began, now), self.silence.waiting() + 1);
        let silent = match unanswered {
            Unanswered::Early => {
                if let Some(probe) = probe {
                    self.free_probe(probe, "the probe was abandoned");
                }
                return;
            }
            Unanswered::Late { silent } | Unanswered::Overdue { silent } => silent,
        };
        if probe.is_some_and(|probe| self.end_probe(probe, Some(Fault::Probe { last: NO_ANSWER.to_owned() }), now)) {
            return;
        }
        if silent > self.silence.patience() {
            self.eject(Fault::Silent { silent, calls }, now);
        } else if matches!(unanswered, Unanswered::Overdue { .. }) {
            self.failures.add(now);
            self.look_at_rate(NO_ANSWER.to_owned(), now);
        }
    }

    /// A call was dropped, nobody knows when.
    pub(super) fn forgotten(&self, probe: Option<u64>) {
        self.silence.forgotten();
        if let Some(probe) = probe {
            self.free_probe(probe, "the probe was abandoned");
        }
    }

    /// Nothing was heard for longer than `patience` while calls wait.
    pub(super) fn fell_silent(&self, patience: Duration, now: Instant) {
        let calls = self.silence.waiting();
        match self.gate.load(SeqCst) {
            ADMITTING => self.eject(Fault::Silent { silent: self.silence.silent_for(now), calls }, now),
            gate if gate & PROBING != 0 => {
                // Others may have waited since long before; the probe has its own time.
                let silent = now.saturating_duration_since(self.history().since);
                if silent > patience {
                    self.end_probe(gate, Some(Fault::Silent { silent, calls }), now);
                }
            }
            _ => (),
        }
    }

    /// The next call is a probe from `earliest` on, if the endpoint is ejected until later.
    pub(super) fn probe_from(&self, history: &mut History, earliest: Instant, hurried: bool) {
        let (gate, earliest) = (self.gate.load(SeqCst), self.nanos(earliest));
        if gate != ADMITTING && gate & PROBING == 0 && gate > earliest {
            history.hurried = hurried;
            self.gate.store(earliest, SeqCst);
        }
    }

    /// What share of at least `least` calls of the window went well.
    pub(super) fn rate(&self, now: Instant, least: u64) -> Option<f64> {
        let (good, bad) = (self.successes.sum(now, SECONDS), self.failures.sum(now, SECONDS));
        (good + bad >= least.max(1)).then(|| good as f64 / (good + bad) as f64)
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("nothing panics while a breaker changes")
    }

    /// Nanoseconds since the start, from one on: zero is no time.
    pub(super) fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_nanos() as u64 + 1
    }

    fn count_failure(&self, last: String, now: Instant) {
        self.failures.add(now);
        let calls = self.in_a_row.fetch_add(1, SeqCst) + 1;
        if calls >= CONSECUTIVE {
            return self.eject(Fault::InARow { calls, last }, now);
        }
        self.look_at_rate(last, now);
    }

    fn look_at_rate(&self, last: String, now: Instant) {
        if self.rate(now, LEAST_CALLS).is_some_and(|rate| rate < SUCCESS_RATE) {
            let (good, failed) = (self.successes.sum(now, SECONDS), self.failures.sum(now, SECONDS));
            self.eject(Fault::Rate { failed, calls: good + failed, last }, now);
        }
    }

    /// Ejects an endpoint that admits. Of those that find a reason at one time the first is right.
    fn eject(&self, fault: Fault, now: Instant) {
        let mut history = self.history();
        if self.gate.load(SeqCst) != ADMITTING {
            return;
        }
        let time = match fault {
            // It goes for good, or another comes in its place soon.
            Fault::Stopping { .. } => history.penalty.shortest(),
            _ => {
                let good = now.saturating_duration_since(history.since);
                history.penalty.next(good)
            }
        };
        let silent = fault.is_silence();
        let is_over = silent || matches!(fault, Fault::Stopping { .. });
        history.hope = if is_over { 0.0 } else { self.rate(now, 1).unwrap_or(0.0) };
        history.silent = silent;
        self.shut(&mut history, time, fault, now);
    }

    /// Ends a probe by its fault, or well; tells whether it was still the one under way.
    fn end_probe(&self, probe: u64, fault: Option<Fault>, now: Instant) -> bool {
        let mut history = self.history();
        if self.gate.load(SeqCst) != probe {
            return false;
        }
        let hurried = mem::take(&mut history.hurried);
        match fault {
            None => {
                history.turn(now, "the probe was answered");
                self.changes.count(Change::Recovered);
                self.begin_anew();
                self.gate.store(ADMITTING, SeqCst);
            }
            Some(fault) => {
                let time = if hurried { history.penalty.shortest() } else { history.penalty.next(Duration::ZERO) };
                (history.hope, history.silent) = (0.0, fault.is_silence());
                self.shut(&mut history, time, fault, now);
            }
        }
        true
    }

    /// Frees the place of a probe that decided nothing; tells whether it was still the one under way.
    fn free_probe(&self, probe: u64, why: &'static str) -> bool {
        let mut history = self.history();
        let is_under_way = self.gate.load(SeqCst) == probe;
        if is_under_way {
            history.why = why.into();
            self.gate.store(self.nanos(self.start), SeqCst);
        }
        is_under_way
    }

    fn shut(&self, history: &mut History, time: Duration, fault: Fault, now: Instant) {
        history.turn(now, fault.to_string());
        self.changes.count(fault.change());
        self.begin_anew();
        self.gate.store(self.nanos(now + time), SeqCst);
    }

    /// What was counted in another state is forgotten.
    fn begin_anew(&self) {
        self.in_a_row.store(0, SeqCst);
        self.silence.forgive();
        self.successes.clear();
        self.failures.clear();
    }
}

/// The part of a message that fits into a listing.
fn shortened(message: &str) -> String {
    message[..message.floor_char_boundary(200)].to_owned()
}
