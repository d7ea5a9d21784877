//! How much earlier than its deadline a run must be over so that its answer is in time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Follows the answers: one that was late although it ran widens the margin by a quarter of a run, one that was in time
/// narrows it by a part so small that a few in a thousand are late where the machine cannot keep time.
#[derive(Debug, Default)]
pub(super) struct Margin {
    /// In nanoseconds. Two answers at one time may lose one step; the next one makes up for it.
    nanos: AtomicU64,
}

/// A margin of more runs than this would refuse what could be answered.
const MOST_RUNS: u32 = 4;

impl Margin {
    pub(super) fn get(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed))
    }

    /// An answer came in time.
    pub(super) fn in_time(&self) {
        let nanos = self.nanos.load(Relaxed);
        if nanos > 0 {
            self.nanos.store(nanos - nanos.div_ceil(2048), Relaxed);
        }
    }

    /// A call that ran, for so long, was not answered in time.
    pub(super) fn late(&self, run: Duration) {
        let (most, step) = (run * MOST_RUNS, run / 4 + Duration::from_micros(50));
        let nanos = (self.get() + step).min(most.max(step)).as_nanos() as u64;
        self.nanos.store(nanos, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Duration = Duration::from_millis(2);

    #[test]
    fn late_answers_widen_it_up_to_a_few_runs_and_answers_in_time_narrow_it_to_nothing() {
        let margin = Margin::default();
        margin.in_time();
        assert_eq!(margin.get(), Duration::ZERO);
        (0..100).for_each(|_| margin.late(RUN));
        assert_eq!(margin.get(), RUN * MOST_RUNS);
        (0..100_000).for_each(|_| margin.in_time());
        assert_eq!(margin.get(), Duration::ZERO);
    }

    #[test]
    fn where_answers_scatter_it_settles_where_few_are_late() {
        let (margin, mut late) = (Margin::default(), 0);
        let mut random = fastrand::Rng::with_seed(3);
        for call in 0..200_000 {
            // The way back takes up to 1 ms.
            if Duration::from_nanos(random.u64(..1_000_000)) > margin.get() {
                late += u32::from(call > 100_000);
                margin.late(RUN);
            } else {
                margin.in_time();
            }
        }
        assert!(late < 500, "{late} of 100000 are late");
    }
}
