//! Who counts as equal: otherwise all calls, where they come one after the other, go to the one endpoint that looks
//! better by next to nothing, and what is known of the others is never set right.

use fastrand::Rng;

use super::Candidate;
use super::sample::{CHOICES, Sample};
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
        cost: impl Fn(&'a M) -> Cost,
        rng: &mut Rng,
    ) -> Option<(&'a M, Cost)> {
        let mut costs = [Cost::default(); CHOICES];
        let mut least = f64::INFINITY;
        for (known, candidate) in costs.iter_mut().zip(sample.iter()) {
            *known = cost(candidate);
            // `min` looks for what is no number, at the cost of a few more instructions.
            least = if known.doubted < least { known.doubted } else { least };
        }
        let most = least + least * self.part + self.nanos;
        let (mut chosen, mut equals) = (None, 0);
        for (candidate, cost) in sample.iter().zip(&costs) {
            if cost.doubted <= most {
                equals += 1;
                // The nth takes the place of those before it once in n times.
                if equals == 1 || rng.u32(..) < u32::MAX / equals {
                    chosen = Some((candidate, *cost));
                }
            }
        }
        chosen
    }
}
