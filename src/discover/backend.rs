//! What was discovered: backends, the complete set of them, and what changed between two sets. Says nothing about
//! connections: whether a backend can be reached is known to whoever dials it.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytestring::ByteString;

/// One instance of a model server, as it was discovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens; there is one backend for each address.
    pub address: SocketAddr,
    /// For people: the pod's name, the host's name or the address.
    pub name: ByteString,
    /// The name for `:authority` and for TLS; without one it is the address.
    pub host: Option<ByteString>,
    /// The zone that it runs in, where that is known.
    pub zone: Option<ByteString>,
    /// Whether it wants calls.
    pub condition: Condition,
}

impl Backend {
    /// A backend of which nothing but the address is known, ready.
    pub fn at(address: SocketAddr) -> Backend {
        Backend { address, name: address.to_string().into(), host: None, zone: None, condition: Condition::Ready }
    }
}

/// Whether a backend wants calls, as its source says. The better one is the lesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// It wants calls.
    Ready,
    /// It still answers but is about to go: new calls only where nobody is ready, calls in flight stay.
    Leaving,
    /// It does not answer. It is listed all the same, so that one can see it.
    Unready,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Condition::Ready => "ready",
            Condition::Leaving => "leaving",
            Condition::Unready => "unready",
        })
    }
}

/// All backends that are known, by address: complete, never part of a list. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Backends(Arc<BTreeMap<SocketAddr, Backend>>);

impl Backends {
    /// The backend at an address.
    pub fn get(&self, address: SocketAddr) -> Option<&Backend> {
        self.0.get(&address)
    }

    /// Whether a backend at this address is known.
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.0.contains_key(&address)
    }

    /// How many there are, of any condition.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By address, ascending.
    pub fn iter(&self) -> btree_map::Values<'_, SocketAddr, Backend> {
        self.0.values()
    }

    /// What must be done to `old` so that it becomes this set, by address, ascending.
    pub fn changes_since(&self, old: &Backends) -> Vec<Change> {
        if Arc::ptr_eq(&self.0, &old.0) {
            return Vec::new();
        }
        let (mut before, mut after) = (old.iter().peekable(), self.iter().peekable());
        let mut changes = Vec::new();
        loop {
            match (before.peek(), after.peek()) {
                (None, None) => return changes,
                (Some(gone), new) if new.is_none_or(|new| gone.address < new.address) => {
                    changes.push(Change::Removed(gone.address));
                    before.next();
                }
                (Some(kept), Some(new)) if kept.address == new.address => {
                    changes.extend((kept != new).then(|| Change::Changed((*new).clone())));
                    before.next();
                    after.next();
                }
                (_, Some(new)) => {
                    changes.push(Change::Added((*new).clone()));
                    after.next();
                }
                (Some(_), None) => unreachable!("the second arm takes it"),
            }
        }
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Of several with the same address, the last one stays.
impl FromIterator<Backend> for Backends {
    fn from_iter<I: IntoIterator<Item = Backend>>(backends: I) -> Backends {
        Backends(Arc::new(backends.into_iter().map(|backend| (backend.address, backend)).collect()))
    }
}

impl<'a> IntoIterator for &'a Backends {
    type Item = &'a Backend;
    type IntoIter = btree_map::Values<'a, SocketAddr, Backend>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One step from a set of backends to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not known before.
    Added(Backend),
    /// It was known, and something other than its address is different now.
    Changed(Backend),
    /// It is known no longer.
    Removed(SocketAddr),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some() -> impl Strategy<Value = Backends> {
        let condition = prop_oneof![Just(Condition::Ready), Just(Condition::Leaving)];
        proptest::collection::vec((0u16..12, condition), 0..12).prop_map(|drawn| {
            let backend = |(port, condition)| Backend { condition, ..Backend::at(([10, 0, 0, 1], port).into()) };
            drawn.into_iter().map(backend).collect()
        })
    }

    fn applied(old: &Backends, changes: Vec<Change>) -> Backends {
        let mut map = (*old.0).clone();
        for change in changes {
            match change {
                Change::Added(new) => assert!(map.insert(new.address, new).is_none()),
                Change::Changed(new) => assert!(map.insert(new.address, new).is_some()),
                Change::Removed(address) => assert!(map.remove(&address).is_some()),
            }
        }
        map.into_values().collect()
    }

    proptest! {
        #[test]
        fn changes_lead_from_one_set_to_the_other(old in some(), new in some()) {
            prop_assert_eq!(applied(&old, new.changes_since(&old)), new);
        }

        #[test]
        fn equal_sets_have_no_changes(set in some()) {
            let again: Backends = set.iter().cloned().collect();
            prop_assert_eq!(again.changes_since(&set), vec![]);
        }
    }
}
