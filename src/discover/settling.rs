//! When a set is handed on: what gets worse at once, what gets better after a moment, so that a rollout's many small
//! additions are one change. Pure: it is told the time.

use std::time::{Duration, Instant};

use super::{Backends, Change};

/// How long additions wait for others. A controller writes the slices of one rollout within some tens of milliseconds.
pub const ADDITIONS_WAIT: Duration = Duration::from_millis(75);

/// A set that is about to be handed on.
#[derive(Debug)]
pub struct Settling {
    handed_on: Backends,
    waiting: Option<(Backends, Instant)>,
}

impl Settling {
    /// `known` is known to everybody already.
    pub fn new(known: Backends) -> Settling {
        Settling { handed_on: known, waiting: None }
    }

    /// All that exists now.
    pub fn told(&mut self, set: Backends, now: Instant) {
        let changes = set.changes_since(&self.handed_on);
        // With nobody known, everybody waits for the first.
        let is_urgent = self.handed_on.is_empty() || changes.iter().any(|change| self.makes_worse(change));
        let since = self.waiting.take().map(|(_, due)| due);
        if !changes.is_empty() {
            let due = if is_urgent { now } else { since.unwrap_or(now + ADDITIONS_WAIT) };
            self.waiting = Some((set, due));
        }
    }

    /// When there will be something to hand on.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|(_, due)| *due)
    }

    /// What is to be handed on now.
    pub fn take(&mut self, now: Instant) -> Option<Backends> {
        let (set, _) = self.waiting.take_if(|(_, due)| *due <= now)?;
        self.handed_on = set.clone();
        Some(set)
    }

    fn makes_worse(&self, change: &Change) -> bool {
        match change {
            Change::Added(_) => false,
            Change::Removed(_) => true,
            Change::Changed(new) => self.handed_on.get(new.address).is_some_and(|old| new.condition > old.condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Backend, Condition};
    use super::*;

    fn set(ports: &[u16]) -> Backends {
        ports.iter().map(|port| Backend::at(([10, 0, 0, 1], *port).into())).collect()
    }

    fn leaving(set: &Backends) -> Backends {
        set.iter().map(|backend| Backend { condition: Condition::Leaving, ..backend.clone() }).collect()
    }

    #[test]
    fn additions_wait_for_others_but_not_longer_with_each() {
        let (mut settling, start) = (Settling::new(set(&[1])), Instant::now());
        settling.told(set(&[1, 2]), start);
        settling.told(set(&[1, 2, 3]), start + ADDITIONS_WAIT / 2);
        assert_eq!(settling.take(start + ADDITIONS_WAIT / 2), None);
        assert_eq!(settling.due(), Some(start + ADDITIONS_WAIT));
        assert_eq!(settling.take(start + ADDITIONS_WAIT), Some(set(&[1, 2, 3])));
        assert_eq!(settling.due(), None);
    }

    #[test]
    fn a_removal_and_a_backend_that_leaves_wait_for_nothing() {
        let now = Instant::now();
        for worse in [set(&[1]), leaving(&set(&[1, 2]))] {
            let mut settling = Settling::new(set(&[1, 2]));
            settling.told(worse.clone(), now);
            assert_eq!(settling.take(now), Some(worse));
        }
    }

    #[test]
    fn a_removal_takes_waiting_additions_along() {
        let (mut settling, now) = (Settling::new(set(&[1, 2])), Instant::now());
        settling.told(set(&[1, 2, 3]), now);
        settling.told(set(&[2, 3]), now);
        assert_eq!(settling.take(now), Some(set(&[2, 3])));
    }

    #[test]
    fn a_backend_that_gets_better_waits_like_an_addition() {
        let (mut settling, now) = (Settling::new(leaving(&set(&[1]))), Instant::now());
        settling.told(set(&[1]), now);
        assert_eq!(settling.take(now), None);
    }

    #[test]
    fn the_first_backends_of_all_wait_for_nothing() {
        let (mut settling, now) = (Settling::new(set(&[])), Instant::now());
        settling.told(set(&[1]), now);
        assert_eq!(settling.take(now), Some(set(&[1])));
    }

    #[test]
    fn what_was_taken_back_in_time_is_not_handed_on() {
        let (mut settling, now) = (Settling::new(set(&[1])), Instant::now());
        settling.told(set(&[1, 2]), now);
        settling.told(set(&[1]), now);
        assert_eq!(settling.take(now + ADDITIONS_WAIT), None);
    }
}
