//! One after the other.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use fastrand::Rng;

use super::{Candidate, Question};

/// So many near endpoints are enough to go round among them alone. With fewer all are one set: whose turn it is says
/// nothing of who is too busy, so that nothing else would lead calls away from the few.
const ENOUGH_NEAR: usize = 2;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicUsize);

impl Turn {
    pub(super) fn next<'a, M: Candidate>(
        &self,
        near: &'a [M],
        far: &'a [M],
        open: &impl Fn(&M) -> bool,
        question: &Question<'_>,
        rng: &mut Rng,
    ) -> Option<&'a M> {
        let turn = self.0.fetch_add(1, Relaxed);
        let first = match near.len() >= ENOUGH_NEAR {
            true => round(near, &[], turn, open, question, rng),
            false => None,
        };
        first.or_else(|| round(near, far, turn, open, question, rng))
    }
}

/// The first that is open, beginning with the one whose turn it is; one that is in its slow start lets some turns pass.
fn round<'a, M: Candidate>(
    near: &'a [M],
    far: &'a [M],
    turn: usize,
    open: &impl Fn(&M) -> bool,
    question: &Question<'_>,
    rng: &mut Rng,
) -> Option<&'a M> {
    let count = near.len() + far.len();
    let from = turn.checked_rem(count)?;
    let order = (from..count).chain(0..from);
    let at = |index: usize| near.get(index).unwrap_or_else(|| &far[index - near.len()]);
    let mut passed = None;
    for candidate in order.map(at).filter(|candidate| open(candidate)) {
        if question.slow_start.admits(candidate.load().age(candidate.load().nanos(question.now)), rng) {
            return Some(candidate);
        }
        passed.get_or_insert(candidate);
    }
    passed
}
