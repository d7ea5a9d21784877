//! The calls of one shape that wait, level by level, those first whose time is over first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::reply::Reply;
use super::shape::Alike;
use crate::cost::Work;
use crate::infer::{InferRequest, Interest};

/// A call that waits, and where its answer goes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Box<InferRequest>,
    pub(super) reply: Reply,
    pub(super) interest: Arc<Interest>,
    /// Rows along the batch axis.
    pub(super) rows: usize,
    /// Whether it may be run with others.
    pub(super) merges: bool,
    /// Whether it may be filled up to an allowed size: it has rows, and all its inputs as many.
    pub(super) fills: bool,
    /// Bytes of its inputs.
    pub(super) bytes: usize,
    /// Elements of its inputs, and the same with every padded dimension at its bucket.
    pub(super) elements: usize,
    pub(super) padded_elements: usize,
    /// Its shape without padding, as a hash.
    pub(super) own_shape: u64,
    /// Execution time that it will take of a full batch, in nanoseconds; 0 where that is not known.
    pub(super) nanos: f64,
    /// Sizes of its padded dimensions.
    pub(super) sizes: SmallVec<[usize; 2]>,
    /// Its level of priority.
    pub(super) level: usize,
    /// When it came.
    pub(super) arrived: Instant,
    /// When its answer must be ready: its deadline without the way back.
    pub(super) deadline: Instant,
    /// When it must have begun, at most its deadline.
    pub(super) due: Instant,
    /// What it is sorted by: where nothing else is said, when it is due.
    pub(super) order: Instant,
}

impl Waiting {
    /// Bytes of its inputs with every padded dimension at its bucket.
    pub(super) fn padded_bytes(&self) -> usize {
        if self.padded_elements == self.elements {
            return self.bytes;
        }
        let bytes = self.bytes as u128 * self.padded_elements as u128 / self.elements.max(1) as u128;
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// When its run must be over so that its answer is in time: earlier than its deadline by the margin, or by a quarter of
    /// the time that it had where that is less. A margin that slow runs of before have widened would refuse every call
    /// otherwise, and only answers narrow it.
    pub(super) fn back_by(&self, margin: Duration) -> Instant {
        let margin = margin.min(self.deadline.saturating_duration_since(self.arrived) / 4);
        self.deadline.checked_sub(margin).unwrap_or(self.deadline)
    }

    /// What it takes to run it alone.
    pub(super) fn work(&self) -> Work {
        Work { shape: self.own_shape, rows: self.rows, elements: self.elements }
    }
}

/// The place of a call: of equal orders, the one that came first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) order: Instant,
    pub(super) number: u64,
}

/// Calls of one shape.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) alike: Alike,
    /// The shape with its padding, as a hash.
    pub(super) shape: u64,
    levels: SmallVec<[VecDeque<(Place, Waiting)>; 1]>,
    rows: usize,
    calls: usize,
    /// What a row takes of a full batch, in nanoseconds; 0 before that is known.
    pub(super) row_nanos: f64,
    /// Time that its runs took in proportion to others; see [`super::fair`].
    pub(super) served: f64,
}

impl Lane {
    pub(super) fn new(alike: Alike, levels: usize) -> Lane {
        let shape = alike.shape();
        let levels = (0..levels).map(|_| VecDeque::new()).collect();
        Lane { alike, shape, levels, rows: 0, calls: 0, row_nanos: 0.0, served: 0.0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls == 0
    }

    pub(super) fn has(&self, level: usize) -> bool {
        !self.levels[level].is_empty()
    }

    /// Lets a call wait. Most come in the order in which they are due.
    pub(super) fn push(&mut self, place: Place, waiting: Waiting) {
        self.rows += waiting.rows;
        self.calls += 1;
        let level = &mut self.levels[waiting.level];
        match level.back() {
            Some((last, _)) if *last > place => {
                let index = level.partition_point(|(other, _)| *other < place);
                level.insert(index, (place, waiting));
            }
            _ => level.push_back((place, waiting)),
        }
    }

    /// Takes a call out, where it is still here.
    pub(super) fn remove(&mut self, level: usize, place: Place) -> Option<Waiting> {
        let queue = &mut self.levels[level];
        let index = queue.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        let (_, waiting) = queue.remove(index)?;
        self.forget(&waiting);
        Some(waiting)
    }

    /// The first call of a level.
    pub(super) fn front(&self, level: usize) -> Option<&(Place, Waiting)> {
        self.levels[level].front()
    }

    /// Takes the first call of a level.
    pub(super) fn pop(&mut self, level: usize) -> Option<Waiting> {
        let (_, waiting) = self.levels[level].pop_front()?;
        self.forget(&waiting);
        Some(waiting)
    }

    /// Those that wait, beginning with `level`, then the others by their urgency.
    pub(super) fn from(&self, level: usize) -> impl Iterator<Item = &Waiting> {
        let others = (0..self.levels.len()).filter(move |other| *other != level);
        std::iter::once(level).chain(others).flat_map(|level| self.levels[level].iter().map(|(_, waiting)| waiting))
    }

    /// Takes those that `wanted` says yes to, in the same order, until it says that it has enough; about `expected`.
    pub(super) fn take(
        &mut self,
        level: usize,
        expected: usize,
        mut wanted: impl FnMut(&Waiting) -> Wanted,
    ) -> SmallVec<[Waiting; 1]> {
        let mut taken = SmallVec::with_capacity(expected);
        let others = (0..self.levels.len()).filter(|other| *other != level);
        for level in std::iter::once(level).chain(others) {
            let queue = &mut self.levels[level];
            let mut passed = SmallVec::<[_; 1]>::new();
            let mut enough = false;
            while let Some((_, waiting)) = queue.front() {
                match wanted(waiting) {
                    Wanted::Yes => taken.extend(queue.pop_front().map(|(_, waiting)| waiting)),
                    Wanted::No => passed.extend(queue.pop_front()),
                    Wanted::Enough => {
                        enough = true;
                        break;
                    }
                }
            }
            passed.into_iter().rev().for_each(|passed| queue.push_front(passed));
            if enough {
                break;
            }
        }
        taken.iter().for_each(|waiting| self.forget(waiting));
        taken
    }

    /// The order of the last call.
    pub(super) fn last_order(&self) -> Option<Instant> {
        self.levels.iter().filter_map(|level| level.back().map(|(place, _)| place.order)).max()
    }

    /// The earliest deadline among the first of each level.
    pub(super) fn earliest_deadline(&self) -> Option<Instant> {
        self.levels.iter().filter_map(|level| level.front().map(|(_, waiting)| waiting.deadline)).min()
    }

    fn forget(&mut self, waiting: &Waiting) {
        self.rows -= waiting.rows;
        self.calls -= 1;
    }
}

/// What becomes of a call that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It is taken.
    Yes,
    /// It waits on; the next is looked at.
    No,
    /// It waits on, and no more are wanted.
    Enough,
}

/// How long a run may be in the past for what was learnt from it to turn calls away: several times as long as a run
/// takes. Without it a model whose runs were slow once would turn every call away and never learn better.
pub(super) fn trusted_for(run: Duration) -> Duration {
    run * 4 + Duration::from_millis(20)
}
