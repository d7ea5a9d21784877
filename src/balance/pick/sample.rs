//! A few endpoints at random, no two of them the same.

use fastrand::Rng;

/// How many endpoints are compared. With two the better one is often not among them; many gateways that compare all of
/// them run after the same one; `benches/balance` has the figures.
pub(super) const CHOICES: usize = 3;
/// Draws that may hit a taken or closed endpoint before the endpoints are gone through in order.
const DRAWS: usize = 8;

/// Up to [`CHOICES`] endpoints.
pub(super) struct Sample<'a, M>([Option<&'a M>; CHOICES]);

impl<'a, M> Sample<'a, M> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a M> {
        self.0.iter().map_while(|found| *found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }
}

/// Distinct endpoints out of `set` that are eligible, each with the same chance; all that are where there are no more
/// than [`CHOICES`]. Fewer come only where fewer are eligible.
pub(super) fn distinct<'a, M>(set: &'a [M], eligible: impl Fn(&M, &mut Rng) -> bool, rng: &mut Rng) -> Sample<'a, M> {
    let mut found = Found { indexes: [usize::MAX; CHOICES], count: 0 };
    if set.len() > CHOICES {
        for _ in 0..DRAWS {
            let index = rng.usize(..set.len());
            if !found.has(index) && eligible(&set[index], rng) && found.push(index) {
                break;
            }
        }
    }
    // Where most are closed, drawing does not find the others.
    if !found.is_full() && !set.is_empty() {
        let start = rng.usize(..set.len());
        for index in (start..set.len()).chain(0..start) {
            if !found.has(index) && eligible(&set[index], rng) && found.push(index) {
                break;
            }
        }
    }
    Sample(found.indexes.map(|index| set.get(index)))
}

struct Found {
    indexes: [usize; CHOICES],
    count: usize,
}

impl Found {
    fn has(&self, index: usize) -> bool {
        self.indexes.contains(&index)
    }

    /// Whether it is full with that one.
    fn push(&mut self, index: usize) -> bool {
        self.indexes[self.count] = index;
        self.count += 1;
        self.is_full()
    }

    fn is_full(&self) -> bool {
        self.count == CHOICES
    }
}
