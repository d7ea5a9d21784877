//! A few endpoints at random, no two of them the same.

use fastrand::Rng;

/// How many endpoints are compared. With two the better one is often not among them; many gateways that compare all of
/// them run after the same one; `benches/balance` has the figures.
pub(super) const CHOICES: usize = 3;
/// Draws that may hit a taken or closed endpoint before the endpoints are gone through in order.
const DRAWS: usize = 8;

/// Up to [`CHOICES`] endpoints, each with how old it is in nanoseconds.
pub(super) struct Sample<'a, M> {
    set: &'a [M],
    indexes: [usize; CHOICES],
    ages: [u64; CHOICES],
    count: usize,
}

impl<'a, M> Sample<'a, M> {
    /// Distinct endpoints out of `set` that are eligible, for which `age` says how old they are; each has the same
    /// chance, and all are taken where there are no more than [`CHOICES`]. Fewer come only where fewer are eligible.
    pub(super) fn of(set: &'a [M], age: impl Fn(&M, &mut Rng) -> Option<u64>, rng: &mut Rng) -> Self {
        let mut sample = Sample { set, indexes: [usize::MAX; CHOICES], ages: [0; CHOICES], count: 0 };
        if set.len() > CHOICES {
            for _ in 0..DRAWS {
                if sample.take(rng.usize(..set.len()), &age, rng) {
                    return sample;
                }
            }
        }
        // Where most are closed, drawing does not find the others.
        let start = if set.is_empty() { 0 } else { rng.usize(..set.len()) };
        for index in (start..set.len()).chain(0..start) {
            if sample.take(index, &age, rng) {
                break;
            }
        }
        sample
    }

    /// Takes one more where it may be taken. Whether that was the last.
    fn take(&mut self, index: usize, age: &impl Fn(&M, &mut Rng) -> Option<u64>, rng: &mut Rng) -> bool {
        if !self.indexes.contains(&index)
            && let Some(age) = age(&self.set[index], rng)
        {
            (self.indexes[self.count], self.ages[self.count]) = (index, age);
            self.count += 1;
        }
        self.count == CHOICES
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a M, u64)> {
        (0..self.count).map(|at| (&self.set[self.indexes[at]], self.ages[at]))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}
