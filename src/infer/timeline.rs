//! Where the time of a call went: one span per stage, on this process's monotonic clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The stages of a call, in the order in which it meets them. Their names are metric labels and span names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Its message is read.
    Receive,
    /// Whether it may enter is decided.
    Admit,
    /// An endpoint is chosen.
    Pick,
    /// It waits for a connection.
    Connect,
    /// It is written to the endpoint.
    Send,
    /// It waits for a slot.
    Queue,
    /// It is laid out for the engine with its batch.
    Merge,
    /// The engine runs.
    Execute,
    /// Its part is cut out of the batch's answer.
    Split,
    /// The answer travels back to its waiter.
    Return,
    /// The answer is put into its protocol's form.
    Encode,
}

impl Stage {
    /// Every stage in order.
    pub const ALL: [Stage; 11] = [
        Stage::Receive,
        Stage::Admit,
        Stage::Pick,
        Stage::Connect,
        Stage::Send,
        Stage::Queue,
        Stage::Merge,
        Stage::Execute,
        Stage::Split,
        Stage::Return,
        Stage::Encode,
    ];

    /// Its name, such as `receive`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Admit => "admit",
            Stage::Pick => "pick",
            Stage::Connect => "connect",
            Stage::Send => "send",
            Stage::Queue => "queue",
            Stage::Merge => "merge",
            Stage::Execute => "execute",
            Stage::Split => "split",
            Stage::Return => "return",
            Stage::Encode => "encode",
        }
    }
}

/// The stamps of one call. Clones share them, so that whoever holds the call last (an answer, an error, a guard that
/// is dropped) still sees where its time went. A stage that is met again, as by a retry, adds up.
///
/// Stages are stamped one after another: [`Timeline::end`] gives a stage all the time since the last stamp.
#[derive(Debug, Clone)]
pub struct Timeline(Arc<Stamps>);

#[derive(Debug)]
struct Stamps {
    started: Instant,
    /// Nanoseconds from the start to the last stamp. Relaxed is enough here and below: a call has one owner at a time,
    /// and the channels that hand it over order the stores.
    last: AtomicU64,
    spent: [AtomicU64; Stage::ALL.len()],
}

impl Timeline {
    /// A call whose first byte came at `now`.
    pub fn start(now: Instant) -> Timeline {
        Timeline(Arc::new(Stamps { started: now, last: AtomicU64::new(0), spent: Default::default() }))
    }

    /// When the call began.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// Ends `stage` at `now`: it lasted since the last stamp.
    pub fn end(&self, stage: Stage, now: Instant) {
        let until = now.saturating_duration_since(self.0.started).as_nanos() as u64;
        let since = self.0.last.load(Relaxed);
        let spent = &self.0.spent[stage as usize];
        // Not one atomic addition: a call has one owner at a time, and this is on the path of each.
        spent.store(spent.load(Relaxed) + until.saturating_sub(since), Relaxed);
        self.0.last.store(until.max(since), Relaxed);
    }

    /// How long `stage` took in all.
    pub fn spent(&self, stage: Stage) -> Duration {
        Duration::from_nanos(self.0.spent[stage as usize].load(Relaxed))
    }

    /// The stages that took any time, in order.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, Duration)> {
        Stage::ALL.into_iter().map(|stage| (stage, self.spent(stage))).filter(|(_, spent)| !spent.is_zero())
    }

    /// What no stage accounts for, of a call that ended at `now`.
    pub fn unaccounted(&self, now: Instant) -> Duration {
        let accounted: Duration = Stage::ALL.into_iter().map(|stage| self.spent(stage)).sum();
        now.saturating_duration_since(self.0.started).saturating_sub(accounted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_stamped_one_after_another_leave_nothing_unaccounted() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let timeline = Timeline::start(start);
        timeline.end(Stage::Receive, at(5));
        timeline.end(Stage::Queue, at(25));
        timeline.end(Stage::Execute, at(125));
        timeline.end(Stage::Queue, at(130));
        assert_eq!(timeline.spent(Stage::Queue), Duration::from_micros(25));
        assert_eq!(timeline.stages().map(|(_, spent)| spent).sum::<Duration>(), Duration::from_micros(130));
        assert_eq!(timeline.unaccounted(at(131)), Duration::from_micros(1));
    }

    #[test]
    fn a_stamp_from_before_the_last_one_takes_nothing_away() {
        let start = Instant::now();
        let timeline = Timeline::start(start);
        timeline.end(Stage::Admit, start + Duration::from_micros(9));
        timeline.end(Stage::Queue, start + Duration::from_micros(4));
        timeline.end(Stage::Merge, start + Duration::from_micros(10));
        assert_eq!(timeline.spent(Stage::Merge), Duration::from_micros(1));
    }
}
