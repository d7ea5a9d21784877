//! Where the time of a call went: the marks at the borders of its stages, on this process's monotonic clock.

mod spent;
mod stage;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use spent::Spent;
pub use stage::Stage;

use super::{ModelName, Version};

/// One stretch of a call's time, from the end of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// What it was spent on; none where a process behind this one accounts for it with no stage.
    pub stage: Option<Stage>,
    /// Whether it was in a process behind this one: then its length is known, and its place a guess.
    pub is_behind: bool,
    /// When it began, in nanoseconds since the start of the call.
    pub since: u64,
    /// When it ended, in nanoseconds since the start of the call.
    pub until: u64,
}

/// The stamps of one call. Clones share them, so that whoever holds the call last (an answer, an error, a guard that
/// is dropped) still sees where its time went. A stage that is met again, as by a retry, adds up.
///
/// Stages are stamped one after another: [`Timeline::end`] gives a stage all the time since the last stamp.
#[derive(Debug, Clone)]
pub struct Timeline(Arc<Stamps>);

/// As many stretches as a call has that was tried three times, and some. What comes after them is added to the last.
const MARKS: usize = 24;

/// Bits of a mark that are not its time: the stage's number, and whether it is behind.
const BEHIND: u64 = 1 << 4;
const NO_STAGE: u64 = 0xf;
const TIME: u32 = 5;

/// Where no version is known; none has this number.
const NO_VERSION: u64 = u64::MAX;

#[derive(Debug)]
struct Stamps {
    started: Instant,
    /// Who took the call: a name that is served, and never one that a caller made up.
    model: OnceLock<ModelName>,
    version: AtomicU64,
    /// How many marks there are. A call has one owner at a time who stamps it, and the channels that hand it over order the
    /// stores. But it may be looked at meanwhile: by whoever sees that its caller has left, while a run goes on.
    count: AtomicU64,
    /// Nanoseconds from the start to the mark, above its other bits.
    marks: [AtomicU64; MARKS],
}

impl Timeline {
    /// A call whose first byte came at `now`.
    pub fn start(now: Instant) -> Timeline {
        Timeline(Arc::new(Stamps {
            started: now,
            model: OnceLock::new(),
            version: AtomicU64::new(NO_VERSION),
            count: AtomicU64::new(0),
            marks: Default::default(),
        }))
    }

    /// A model that is served has taken the call, in this version where that is known. Of models the first counts, of
    /// versions the last.
    pub fn taken_by(&self, model: &ModelName, version: Option<Version>) {
        if self.0.model.get().is_none() {
            let _ = self.0.model.set(model.clone());
        }
        if let Some(version) = version {
            self.0.version.store(version.number() as u64, Relaxed);
        }
    }

    /// The model that took the call; none where it was turned away before.
    pub fn model(&self) -> Option<&ModelName> {
        self.0.model.get()
    }

    /// The version that took it, where that is known.
    pub fn version(&self) -> Option<Version> {
        Version::new(self.0.version.load(Relaxed))
    }

    /// When the call began.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// Ends `stage` at `now`: it lasted since the last stamp.
    pub fn end(&self, stage: Stage, now: Instant) {
        self.mark(stage as u64, self.nanos(now));
    }

    /// Takes over where the time went of a process behind this one, which was asked at the last stamp and had answered at
    /// `now`. What it does not account for is the way there and back. Only lengths are compared, never two clocks.
    pub fn fold(&self, behind: &Spent, now: Instant) {
        let end = self.nanos(now);
        let mut until = self.last();
        behind.tell::<1>(|stage, nanos| {
            until = until.saturating_add(nanos).min(end);
            self.mark(stage.map_or(NO_STAGE, |stage| stage as u64) | BEHIND, until);
        });
        self.mark(Stage::Return as u64, end);
    }

    fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.0.started).as_nanos() as u64
    }

    /// When the last mark was made.
    fn last(&self) -> u64 {
        match self.0.count.load(Relaxed) {
            0 => 0,
            count => self.0.marks[count as usize - 1].load(Relaxed) >> TIME,
        }
    }

    fn mark(&self, kind: u64, until: u64) {
        // Not one atomic addition: a call has one owner at a time, and this is on the path of each.
        let count = self.0.count.load(Relaxed) as usize;
        if until <= self.last() {
            return;
        }
        if count < MARKS {
            self.0.marks[count].store(until << TIME | kind, Relaxed);
            self.0.count.store(count as u64 + 1, Release);
        } else {
            let last = &self.0.marks[MARKS - 1];
            last.store(until << TIME | last.load(Relaxed) & (BEHIND | NO_STAGE), Relaxed);
        }
    }

    /// What its time was spent on until `now`, one stretch after another. What comes after the last is left out.
    pub fn marks_until(&self, now: Instant) -> impl Iterator<Item = Mark> {
        let (end, mut since) = (self.nanos(now), 0);
        let marks = self.marks().iter().map(move |mark| {
            let bits = mark.load(Relaxed);
            let until = (bits >> TIME).min(end);
            let stage = Stage::ALL.get((bits & NO_STAGE) as usize).copied();
            Mark { stage, is_behind: bits & BEHIND != 0, since: std::mem::replace(&mut since, until), until }
        });
        marks.filter(|mark| mark.since < mark.until)
    }

    fn marks(&self) -> &[AtomicU64] {
        &self.0.marks[..self.0.count.load(Acquire) as usize]
    }

    /// How long each stage took, of a call that ended at `now`.
    pub fn spent_until(&self, now: Instant) -> Spent {
        let (mut spent, mut since, end) = (Spent::default(), 0, self.nanos(now));
        for mark in self.marks() {
            let bits = mark.load(Relaxed);
            // A run that goes on although its caller has left is stamped after the call's end.
            let until = (bits >> TIME).min(end);
            *spent.sum((bits & NO_STAGE) as usize) += until.saturating_sub(since);
            since = until;
        }
        *spent.sum(Stage::COUNT) += end.saturating_sub(since);
        spent
    }

    /// How long `stage` took in all.
    pub fn spent(&self, stage: Stage) -> Duration {
        self.spent_until(self.0.started + Duration::from_nanos(self.last())).of(stage)
    }

    /// What no stage accounts for, of a call that ended at `now`.
    pub fn unaccounted(&self, now: Instant) -> Duration {
        self.spent_until(now).other()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MICRO: Duration = Duration::from_micros(1);

    fn stages(timeline: &Timeline) -> Vec<(Option<Stage>, bool, u64)> {
        let told = |mark: Mark| (mark.stage, mark.is_behind, (mark.until - mark.since) / 1000);
        timeline.marks_until(timeline.started() + 1000 * MICRO).map(told).collect()
    }

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
        assert_eq!(timeline.spent_until(at(130)).total(), Duration::from_micros(130));
        assert_eq!(timeline.unaccounted(at(131)), MICRO);
        let last = timeline.marks_until(at(131)).last().unwrap();
        assert_eq!((last.stage, last.since, last.until), (Some(Stage::Queue), 125_000, 130_000));
    }

    #[test]
    fn a_stamp_from_before_the_last_one_takes_nothing_away() {
        let start = Instant::now();
        let timeline = Timeline::start(start);
        timeline.end(Stage::Admit, start + Duration::from_micros(9));
        timeline.end(Stage::Queue, start + Duration::from_micros(4));
        timeline.end(Stage::Merge, start + Duration::from_micros(10));
        assert_eq!(timeline.spent(Stage::Merge), MICRO);
    }

    #[test]
    fn what_is_stamped_after_the_end_of_a_call_is_no_part_of_it() {
        let start = Instant::now();
        let timeline = Timeline::start(start);
        timeline.end(Stage::Queue, start + 10 * MICRO);
        timeline.end(Stage::Execute, start + 50 * MICRO);
        timeline.end(Stage::Split, start + 60 * MICRO);
        let end = start + 30 * MICRO;
        let spent = timeline.spent_until(end);
        assert_eq!((spent.of(Stage::Execute), spent.other(), spent.total()), (20 * MICRO, Duration::ZERO, 30 * MICRO));
        let marks: Vec<Mark> = timeline.marks_until(end).collect();
        assert_eq!((marks.len(), marks[1].until), (2, 30_000));
    }

    #[test]
    fn what_a_process_behind_accounts_for_is_taken_over_and_the_rest_of_the_hop_is_the_way() {
        let start = Instant::now();
        let timeline = Timeline::start(start);
        timeline.end(Stage::Send, start + 10 * MICRO);
        let mut behind = Spent::default();
        behind.add(Some(Stage::Execute), 50 * MICRO);
        behind.add(Some(Stage::Queue), 5 * MICRO);
        behind.add(None, 2 * MICRO);
        timeline.fold(&behind, start + 100 * MICRO);
        let own = |stage, micros| (Some(stage), false, micros);
        let theirs = |stage, micros| (Some(stage), true, micros);
        let told = [own(Stage::Send, 10), theirs(Stage::Queue, 5), theirs(Stage::Execute, 50)];
        assert_eq!(stages(&timeline), [&told[..], &[(None, true, 2), own(Stage::Return, 33)]].concat());
        assert_eq!(timeline.unaccounted(start + 101 * MICRO), 3 * MICRO);
    }

    #[test]
    fn a_process_behind_that_accounts_for_more_than_the_hop_gets_no_more_than_that() {
        let start = Instant::now();
        let timeline = Timeline::start(start);
        let mut behind = Spent::default();
        behind.add(Some(Stage::Queue), 7 * MICRO);
        behind.add(Some(Stage::Execute), Duration::MAX);
        timeline.fold(&behind, start + 10 * MICRO);
        assert_eq!(stages(&timeline), [(Some(Stage::Queue), true, 7), (Some(Stage::Execute), true, 3)]);
    }

    proptest! {
        #[test]
        fn whatever_is_stamped_the_parts_add_up_to_the_whole(
            stamps in prop::collection::vec((0..Stage::COUNT, 0..5000u64), 0..60),
            after in 0..100u64,
        ) {
            let start = Instant::now();
            let (timeline, mut now) = (Timeline::start(start), start);
            for (stage, nanos) in stamps {
                now += Duration::from_nanos(nanos);
                timeline.end(Stage::ALL[stage], now);
            }
            let spent = timeline.spent_until(now + Duration::from_nanos(after));
            prop_assert_eq!(spent.other(), Duration::from_nanos(after));
            let total = spent.total();
            prop_assert_eq!(total, now + Duration::from_nanos(after) - start);
            let (mut hundreds, mut micros) = (0, 0);
            spent.tell::<100>(|_, units| hundreds += units);
            spent.tell::<1000>(|_, units| micros += units);
            prop_assert_eq!((hundreds, micros), (total.as_nanos() as u64 / 100, total.as_nanos() as u64 / 1000));
        }
    }
}
