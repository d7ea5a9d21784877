//! How long stages took: durations, which mean the same on any clock.

use std::time::Duration;

use super::Stage;

/// How long each stage took in all, and what none accounts for: plain durations, which mean the same on any clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    nanos: [u64; Stage::COUNT],
    other: u64,
}

impl Spent {
    /// How long `stage` took.
    pub fn of(&self, stage: Stage) -> Duration {
        Duration::from_nanos(self.nanos[stage as usize])
    }

    /// What no stage accounts for.
    pub fn other(&self) -> Duration {
        Duration::from_nanos(self.other)
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanos.iter().fold(self.other, |sum, nanos| sum.saturating_add(*nanos)))
    }

    /// Adds to a stage, or where `stage` is none to what none accounts for.
    pub fn add(&mut self, stage: Option<Stage>, time: Duration) {
        let sum = self.sum(stage.map_or(Stage::COUNT, |stage| stage as usize));
        *sum = sum.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// What is spent on the stage of this number; where there is none, on none.
    pub(super) fn sum(&mut self, stage: usize) -> &mut u64 {
        self.nanos.get_mut(stage).unwrap_or(&mut self.other)
    }

    /// Tells the stages that took any time, in order, then what none accounts for, in whole units of so many nanoseconds.
    /// What is cut off from one goes to the next, so that they add up to the whole, cut to such units.
    pub fn tell<const UNIT: u64>(&self, mut tell: impl FnMut(Option<Stage>, u64)) {
        let mut left = 0;
        let mut next = |stage, nanos: u64| {
            let nanos = nanos.saturating_add(left);
            left = nanos % UNIT;
            tell(stage, nanos / UNIT);
        };
        for stage in Stage::ALL {
            match self.nanos[stage as usize] {
                0 => {}
                nanos => next(Some(stage), nanos),
            }
        }
        next(None, self.other);
    }
}
