//! A few endpoints at random, no two of them the same.

use fastrand::Rng;

/// How many endpoints are compared. With two the better one is often not among them; many gateways that compare all of
/// them run after the same one; `benches/balance` has the figures.
pub(super) const CHOICES: usize = 3;
/// Draws that may hit a taken or closed endpoint before the endpoints are gone through in order.
const DRAWS: usize = 8;

/// Up to [`CHOICES`] endpoints.
pub(super) struct Sample<'a, M> {
    found: [Option<&'a M>; CHOICES],
    indexes: [usize; CHOICES],
    count: usize,
}

impl<'a, M> Sample<'a, M> {
    /// Distinct endpoints out of `set` that are eligible, each with the same chance, and all where there are no more
    /// than [`CHOICES`]. Fewer come only where fewer are eligible.
    #[inline]
    pub(super) fn of(set: &'a [M], eligible: impl Fn(&M, &mut Rng) -> bool, rng: &mut Rng) -> Self {
        let mut sample = Sample { found: [None; CHOICES], indexes: [usize::MAX; CHOICES], count: 0 };
        if set.len() > CHOICES {
            for _ in 0..DRAWS {
                let index = rng.usize(..set.len());
                if sample.take(set, index, &eligible, rng) {
                    return sample;
                }
            }
        }
        // Where most are closed, drawing does not find the others.
        let start = if set.is_empty() { 0 } else { rng.usize(..set.len()) };
        for index in (start..set.len()).chain(0..start) {
            if sample.take(set, index, &eligible, rng) {
                break;
            }
        }
        sample
    }

    /// Takes one more where it may be taken. Whether that was the last.
    #[inline]
    fn take(&mut self, set: &'a [M], index: usize, eligible: &impl Fn(&M, &mut Rng) -> bool, rng: &mut Rng) -> bool {
        if !self.indexes.contains(&index) && eligible(&set[index], rng) {
            self.found[self.count] = Some(&set[index]);
            self.indexes[self.count] = index;
            self.count += 1;
        }
        self.count == CHOICES
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a M> {
        self.found.iter().map_while(|found| *found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}
