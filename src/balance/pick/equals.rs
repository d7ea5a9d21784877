//! Who counts as equal: otherwise all calls, where they come one after the other, go to the one endpoint that looks
//! better by next to nothing, and what is known of the others is never set right.

use fastrand::Rng;

use super::sample::{CHOICES, Sample};
use super::{Candidate, Costs};
use crate::balance::load::Cost;

/// How much more than the least is as good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    /// As part of it.
    pub(super) part: f64,
    /// Beside that.
    pub(super) nanos: f64,
}

impl Tolerance {
    /// Only what costs the same is equal.
    pub(super) const NONE: Tolerance = Tolerance { part: 0.0, nanos: 0.0 };

    /// The cheapest of a sample, of equals any with the same chance. What we gave each of them does not tell them apart:
    /// it is in what is predicted, and the slower ones have less of it (p99.9 is 3 % higher with it, `benches/balance`,
    /// 85 % load).
    #[inline]
    pub(super) fn cheapest<'a, M: Candidate>(
        &self,
        sample: &Sample<'a, M>,
        costs: Costs,
        rng: &mut Rng,
    ) -> Option<(&'a M, Cost)> {
        // `min` looks for what is no number, at the cost of a few more instructions.
        let least =
            costs.iter().fold(f64::INFINITY, |least, cost| if cost.doubted < least { cost.doubted } else { least });
        let most = least + least * self.part + self.nanos;
        let (mut chosen, mut equals) = (CHOICES, 0);
        for (index, cost) in costs.iter().enumerate() {
            let is_equal = cost.doubted <= most;
            equals += u64::from(is_equal);
            // The nth takes the place of those before it once in n times. Drawn also for those that are not equal: a branch
            // that nobody foresees takes longer.
            let takes = u64::from(rng.u32(..)) * equals <= u64::from(u32::MAX);
            if is_equal & takes {
                chosen = index;
            }
        }
        sample.get(chosen).zip(costs.get(chosen).copied())
    }
}
