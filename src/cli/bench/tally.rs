//! What became of the calls: how long those took that were answered, and why the others were not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tonic::{Code, Status};

use crate::cli::client::{code, reason};
use crate::wire::status::code_name;

/// The largest time that is told apart; longer ones count as this.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// The smallest time that is told apart.
const SHORTEST_NS: u64 = 100;

/// How one call ended.
#[derive(Debug)]
pub enum End {
    /// With an answer.
    Answered,
    /// With an answer that is not the reference's; this is the difference.
    Different(String),
    /// Without one.
    Failed(Status),
}

/// Calls that failed with one code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// What the first of them said.
    pub sample: String,
}

/// What became of the calls of a run.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Nanoseconds of the calls that were answered.
    pub latency: Histogram<u64>,
    /// Nanoseconds that calls were sent after they were due; only an open loop fills it.
    pub lateness: Histogram<u64>,
    sent: u64,
    /// Calls that were due and could not be sent, since too many were outstanding.
    pub not_sent: u64,
    /// Calls that were answered within the deadline.
    pub in_time: u64,
    /// Answers that differ from the reference.
    pub different: u64,
    /// How the first of those differs.
    pub difference: Option<String>,
    failures: BTreeMap<i32, Failures>,
    last: Option<Instant>,
}

impl Default for Tally {
    fn default() -> Tally {
        let histogram = || Histogram::new_with_bounds(SHORTEST_NS, LONGEST_NS, 3).expect("the bounds are in order");
        Tally {
            latency: histogram(),
            lateness: histogram(),
            sent: 0,
            not_sent: 0,
            in_time: 0,
            different: 0,
            difference: None,
            failures: BTreeMap::new(),
            last: None,
        }
    }
}

impl Tally {
    /// A call is sent.
    pub fn send(&mut self) {
        self.sent += 1;
    }

    /// A call that ended at `now` and counts from `since`. An answer after the deadline is late.
    pub fn end(&mut self, since: Instant, now: Instant, end: End, deadline: Option<Duration>) {
        self.last = self.last.max(Some(now));
        if let End::Failed(status) = &end {
            return self.fail(status);
        }
        if let End::Different(difference) = end {
            self.different += 1;
            self.difference.get_or_insert(difference);
        }
        let took = now.saturating_duration_since(since);
        self.latency.saturating_record(nanos(took));
        self.in_time += u64::from(deadline.is_none_or(|deadline| took <= deadline));
    }

    /// A call that is sent so long after it was due.
    pub fn send_late(&mut self, lateness: Duration) {
        self.lateness.saturating_record(nanos(lateness));
    }

    fn fail(&mut self, status: &Status) {
        let new = || Failures { count: 0, sample: reason(status) };
        self.failures.entry(code(status) as i32).or_insert_with(new).count += 1;
    }

    /// Calls that were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Calls that were answered.
    pub fn answered(&self) -> u64 {
        self.latency.len()
    }

    /// Calls that failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().map(|failures| failures.count).sum()
    }

    /// Calls that were sent and given up before they ended.
    pub fn given_up(&self) -> u64 {
        self.sent - self.answered() - self.failed()
    }

    /// The failures by the name of their code.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &Failures)> {
        self.failures.iter().map(|(code, failures)| (code_name(Code::from_i32(*code)), failures))
    }

    /// When the last call ended.
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// Adds what became of other calls.
    pub fn add(&mut self, other: &Tally) {
        self.latency += &other.latency;
        self.lateness += &other.lateness;
        self.sent += other.sent;
        self.not_sent += other.not_sent;
        self.in_time += other.in_time;
        self.different += other.different;
        self.difference = self.difference.take().or_else(|| other.difference.clone());
        for (code, failures) in &other.failures {
            let own = self.failures.entry(*code).or_insert_with(|| Failures { count: 0, ..failures.clone() });
            own.count += failures.count;
        }
        self.last = self.last.max(other.last);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_call_that_was_sent_is_accounted_for_once() {
        let (mut tally, start) = (Tally { sent: 5, ..Tally::default() }, Instant::now());
        tally.end(start, start + MS, End::Answered, Some(2 * MS));
        tally.end(start, start + 3 * MS, End::Different("y".into()), Some(2 * MS));
        tally.end(start, start + MS, End::Failed(Status::unavailable("gone")), None);
        tally.end(start, start + MS, End::Failed(Status::cancelled("Timeout expired")), None);
        assert_eq!((tally.answered(), tally.failed(), tally.given_up()), (2, 2, 1));
        assert_eq!((tally.in_time, tally.different, tally.difference.as_deref()), (1, 1, Some("y")));
        let codes: Vec<_> = tally.failures().map(|(code, failures)| (code, failures.count)).collect();
        assert_eq!(codes, [("DEADLINE_EXCEEDED", 1), ("UNAVAILABLE", 1)]);
        assert_eq!(tally.last(), Some(start + 3 * MS));
    }

    #[test]
    fn a_failure_is_not_taken_for_a_quick_answer() {
        let (mut tally, start) = (Tally { sent: 1, ..Tally::default() }, Instant::now());
        tally.end(start, start, End::Failed(Status::resource_exhausted("full")), None);
        assert_eq!((tally.latency.len(), tally.in_time), (0, 0));
    }

    #[test]
    fn tallies_add_up() {
        let start = Instant::now();
        let one = |end| {
            let mut tally = Tally { sent: 1, not_sent: 2, ..Tally::default() };
            tally.end(start, start + MS, end, None);
            tally
        };
        let mut all = one(End::Failed(Status::internal("first")));
        all.add(&one(End::Failed(Status::internal("second"))));
        all.add(&one(End::Answered));
        assert_eq!((all.sent, all.not_sent, all.answered(), all.failed()), (3, 6, 1, 2));
        let (_, failures) = all.failures().next().unwrap();
        assert_eq!(failures, &Failures { count: 2, sample: "first".into() });
    }
}
