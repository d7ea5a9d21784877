//! A few endpoints at random, no two of them the same.

use std::ptr;

use fastrand::Rng;

use super::{Candidate, Costs};
use crate::balance::load::{Cost, Load};

/// How many endpoints are compared. With two the better one is often not among them; many gateways that compare all of
/// them run after the same one; `benches/balance` has the figures.
pub(super) const CHOICES: usize = 3;
/// Draws that may hit a taken or closed endpoint before the endpoints are gone through in order.
const DRAWS: usize = 8;

/// Up to [`CHOICES`] endpoints; those that are missing are the last.
pub(super) struct Sample<'a, M>([Option<&'a M>; CHOICES]);

impl<M> Default for Sample<'_, M> {
    fn default() -> Self {
        Sample([None; CHOICES])
    }
}

impl<'a, M> Sample<'a, M> {
    /// Fills an empty one with distinct endpoints out of `set` that are eligible, each with the same chance, and all where
    /// there are no more than [`CHOICES`]. Fewer come only where fewer are eligible. In place: moved it would be read as a
    /// whole while its parts are still being written, for which a processor waits.
    #[inline]
    pub(super) fn fill(&mut self, set: &'a [M], eligible: impl Fn(&M, &mut Rng) -> bool, rng: &mut Rng) {
        let mut count = 0;
        // Takes one more where it may be taken. Whether that was the last.
        let mut take = |candidate: &'a M, rng: &mut Rng| {
            if !self.has(candidate) && eligible(candidate, rng) {
                self.0[count] = Some(candidate);
                count += 1;
            }
            count == CHOICES
        };
        if set.len() > CHOICES {
            for _ in 0..DRAWS {
                if take(&set[rng.usize(..set.len())], rng) {
                    return;
                }
            }
        }
        // Where most are closed, drawing does not find the others.
        let start = if set.is_empty() { 0 } else { rng.usize(..set.len()) };
        for candidate in set[start..].iter().chain(&set[..start]) {
            if take(candidate, rng) {
                break;
            }
        }
    }

    #[inline]
    fn has(&self, candidate: &M) -> bool {
        self.0.iter().any(|taken| ptr::eq(taken.map_or(ptr::null(), ptr::from_ref), candidate))
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a M> {
        self.0.iter().map_while(|found| *found)
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&'a M> {
        self.0.get(index).copied().flatten()
    }

    /// What a call costs at each of them.
    #[inline]
    pub(super) fn costs(&self, cost: impl Fn(&Load) -> Cost) -> Costs
    where
        M: Candidate,
    {
        let mut costs = [Cost::NONE; CHOICES];
        for (known, candidate) in costs.iter_mut().zip(self.iter()) {
            *known = cost(candidate.load());
        }
        costs
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }
}
