//! The guard against mass removal. A list that takes most backends away at once is more often a mistake (a wrong label, a
//! controller that lost its view) than the truth, and the connections know better: who vanished in bulk stays as a
//! suspect until a connection to it fails. It decides on what it is told and dials nobody.

use std::net::SocketAddr;

use super::{Backend, Backends, Condition};

/// Fewer than so many vanish every day; beyond it, more than half must go in one update to look like a mistake.
const BULK: usize = 3;

/// Keeps backends that vanished in bulk as suspects until a connection to them fails.
///
/// One update is in bulk when it takes away more than half, and at least three, of the backends that were ready and are
/// connected, or when it leaves none at all. Backends that were leaving or unready when they vanished had said goodbye,
/// and those without a connection have nothing that speaks for them: both just go.
#[derive(Debug, Default)]
pub struct Guard {
    /// What the last update said, without suspects.
    told: Backends,
    /// Kept although the last update does not name them.
    suspects: Backends,
}

impl Guard {
    /// Takes an update. Returns what to use instead: everything that it says, and the suspects.
    pub fn admit(&mut self, told: &Backends, is_connected: impl Fn(SocketAddr) -> bool) -> Backends {
        let counts = |backend: &&Backend| backend.condition == Condition::Ready && is_connected(backend.address);
        let connectable: Vec<&Backend> = self.told.iter().filter(counts).collect();
        let gone: Vec<&Backend> = connectable.iter().copied().filter(|old| !told.contains(old.address)).collect();
        let is_bulk = told.is_empty() || (gone.len() >= BULK && gone.len() * 2 > connectable.len());

        let still = self.suspects.iter().filter(|old| !told.contains(old.address) && is_connected(old.address));
        let new = gone.into_iter().filter(|_| is_bulk);
        self.suspects = still.chain(new).cloned().collect();
        self.told = told.clone();
        self.admitted()
    }

    /// A connection failed. Returns the new set when that was a suspect, which is gone now.
    pub fn lost(&mut self, address: SocketAddr) -> Option<Backends> {
        self.suspects.contains(address).then(|| {
            self.suspects = self.suspects.iter().filter(|suspect| suspect.address != address).cloned().collect();
            self.admitted()
        })
    }

    /// Whether this backend is kept although nobody names it any longer.
    pub fn is_suspect(&self, address: SocketAddr) -> bool {
        self.suspects.contains(address)
    }

    fn admitted(&self) -> Backends {
        if self.suspects.is_empty() {
            return self.told.clone();
        }
        self.told.iter().chain(&self.suspects).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(number: u16) -> SocketAddr {
        ([10, 0, 0, 1], number).into()
    }

    fn set(numbers: impl IntoIterator<Item = u16>) -> Backends {
        numbers.into_iter().map(|number| Backend::at(at(number))).collect()
    }

    fn guard(numbers: impl IntoIterator<Item = u16>) -> Guard {
        let mut guard = Guard::default();
        guard.admit(&set(numbers), |_| false);
        guard
    }

    #[test]
    fn those_that_vanish_in_bulk_stay_until_their_connection_fails() {
        let mut guard = guard(0..5);
        assert_eq!(guard.admit(&set(3..5), |_| true), set(0..5));
        assert!(guard.is_suspect(at(0)) && !guard.is_suspect(at(3)));
        assert_eq!(guard.lost(at(0)), Some(set(1..5)));
        assert_eq!(guard.lost(at(0)), None, "it is known no longer");
        assert_eq!(guard.lost(at(4)), None, "it is no suspect, so the list decides");
    }

    #[test]
    fn a_few_that_vanish_are_gone_at_once() {
        assert_eq!(guard(0..6).admit(&set(3..6), |_| true), set(3..6), "three, but no more than half");
        assert_eq!(guard(0..3).admit(&set(2..3), |_| true), set(2..3), "more than half, but only two");
    }

    #[test]
    fn an_empty_list_takes_nobody_away_who_is_connected() {
        assert_eq!(guard(0..2).admit(&set([]), |address| address == at(1)), set([1]));
    }

    #[test]
    fn without_a_connection_the_list_is_followed() {
        assert_eq!(guard(0..8).admit(&set([]), |_| false), set([]));
    }

    #[test]
    fn those_without_a_connection_do_not_count() {
        let connected = |address: SocketAddr| address.port() >= 5;
        assert_eq!(guard(0..10).admit(&set(5..10), connected), set(5..10), "all that vanished were away already");
        assert_eq!(guard(0..10).admit(&set(0..6), connected), set((0..6).chain(6..10)), "four of five vanished");
    }

    #[test]
    fn those_that_said_goodbye_may_go_in_bulk() {
        let leaving = |backend: &Backend| Backend { condition: Condition::Leaving, ..backend.clone() };
        let mut guard = guard(0..8);
        guard.admit(&set(0..8).iter().map(leaving).collect(), |_| true);
        assert_eq!(guard.admit(&set(8..9), |_| true), set(8..9));
    }

    #[test]
    fn a_suspect_that_is_named_again_is_none() {
        let mut guard = guard(0..4);
        guard.admit(&set([]), |_| true);
        assert_eq!(guard.admit(&set(0..1), |_| true), set(0..4));
        assert!(!guard.is_suspect(at(0)) && guard.is_suspect(at(1)));
        assert_eq!(guard.lost(at(0)), None);
    }

    proptest! {
        #[test]
        fn everything_that_is_told_is_admitted_and_nothing_that_was_never_told(
            updates in proptest::collection::vec(proptest::collection::btree_set(0u16..10, 0..10), 1..8),
            connected in proptest::collection::btree_set(0u16..10, 0..10),
        ) {
            let (mut guard, mut ever) = (Guard::default(), BTreeSet::new());
            for update in updates {
                ever.extend(update.iter().copied());
                let told = set(update);
                let admitted = guard.admit(&told, |address| connected.contains(&address.port()));
                prop_assert!(told.iter().all(|backend| admitted.contains(backend.address)));
                let others = admitted.iter().filter(|backend| !told.contains(backend.address));
                for other in others {
                    prop_assert!(guard.is_suspect(other.address));
                    prop_assert!(ever.contains(&other.address.port()) && connected.contains(&other.address.port()));
                }
            }
        }
    }
}
