//! What many endpoints say is kept once: thousands of one deployment say the same of hundreds of models.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, Weak};

use super::census::Census;

/// The censuses that somebody has, by what they say. Of two that share a hash the later one is remembered.
#[derive(Debug, Default)]
pub(super) struct Alike {
    known: Mutex<HashMap<u64, Weak<Census>>>,
    hashes: RandomState,
}

impl Alike {
    /// `census`, as the one that others have who say the same.
    pub(super) fn shared(&self, census: Census) -> Arc<Census> {
        let hash = self.hash(&census);
        let mut known = self.known.lock().expect("nothing panics while it holds the censuses");
        if let Some(known) = known.get(&hash).and_then(Weak::upgrade).filter(|known| **known == census) {
            return known;
        }
        // Room is made for it first, so that there are never many that nobody has.
        if known.len() == known.capacity() {
            known.retain(|_, census| census.strong_count() > 0);
        }
        let census = Arc::new(census);
        known.insert(hash, Arc::downgrade(&census));
        census
    }

    /// Over most of what it says. What is left out seldom differs alone.
    fn hash(&self, census: &Census) -> u64 {
        let mut hasher = self.hashes.build_hasher();
        (census.taken, census.by_name).hash(&mut hasher);
        for told in census.models.values().flatten() {
            (&told.name, told.version, told.ready, &told.reason, told.nature).hash(&mut hasher);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::inference::repository_index_response::ModelIndex;

    fn index(names: &[&str]) -> Census {
        let entry = |name: &&str| ModelIndex { name: (*name).into(), state: "READY".into(), ..Default::default() };
        Census::of_index(names.iter().map(entry).collect())
    }

    #[test]
    fn what_many_endpoints_say_is_kept_once_and_forgotten_with_the_last_of_them() {
        let alike = Alike::default();
        let [one, same, other] = [&["a", "b"][..], &["a", "b"], &["a"]].map(|names| alike.shared(index(names)));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        let gone = Arc::downgrade(&one);
        drop((one, same));
        assert!(gone.upgrade().is_none());
    }

    #[test]
    fn however_much_was_said_only_what_somebody_says_still_is_remembered() {
        let alike = Alike::default();
        let kept = alike.shared(index(&["kept"]));
        (0..10_000).for_each(|number| drop(alike.shared(index(&[&format!("m{number}")]))));
        assert!(alike.known.lock().unwrap().len() < 100);
        assert!(Arc::ptr_eq(&kept, &alike.shared(index(&["kept"]))));
    }
}
