//! How many gateways call each model: they share it, and each plans for its part. Written and read with every call that
//! comes from a gateway, without a lock; a mixture of two moments misleads one plan at most.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::infer::ModelName;

/// A gateway that has not called for so long calls no more. Each is heard of often where it matters: where there is
/// load.
const LATELY: Duration = Duration::from_secs(10);
/// Models share these, by their hash.
const BUCKETS: usize = 32;
/// Gateways that are told apart in one of them. More are as many.
const MOST: usize = 32;

/// Who has called of late.
#[derive(Debug)]
pub(super) struct Gateways {
    hasher: RandomState,
    started: Instant,
    buckets: Vec<[Seen; MOST]>,
}

/// One gateway at one model. Nobody where `who` is 0.
#[derive(Debug, Default)]
struct Seen {
    /// A hash of both: its upper half is the model's.
    who: AtomicU64,
    /// Milliseconds since the start.
    at: AtomicU64,
}

impl Gateways {
    /// Nobody yet.
    pub(super) fn new(now: Instant) -> Gateways {
        let buckets = (0..BUCKETS).map(|_| Default::default()).collect();
        Gateways { hasher: RandomState::new(), started: now, buckets }
    }

    /// How many have called `model` of late, with the one that calls it now.
    pub(super) fn count(&self, model: &ModelName, caller: u64, now: Instant) -> u32 {
        let of_model = self.hash(model.as_str()) & !u64::from(u32::MAX);
        let bucket = &self.buckets[(of_model >> 32) as usize % BUCKETS];
        let millis = now.saturating_duration_since(self.started).as_millis() as u64;
        // Never 0, which is nobody.
        take(bucket, of_model | (self.hash(caller) >> 32).max(1), millis);
        let is_of_model = |seen: &&Seen| {
            let who = seen.who.load(Relaxed);
            who != 0 && who & !u64::from(u32::MAX) == of_model && is_recent(seen, millis)
        };
        bucket.iter().filter(is_of_model).count() as u32
    }

    fn hash(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }
}

/// Notes that `who` has called: in its own place, else in that of whoever was heard of longest ago.
fn take(bucket: &[Seen; MOST], who: u64, millis: u64) {
    let own = bucket.iter().find(|seen| seen.who.load(Relaxed) == who);
    if let Some(own) = own {
        return own.at.store(millis, Relaxed);
    }
    let oldest = bucket.iter().min_by_key(|seen| match seen.who.load(Relaxed) {
        0 => 0,
        _ => seen.at.load(Relaxed) + 1,
    });
    if let Some(oldest) = oldest {
        oldest.who.store(who, Relaxed);
        oldest.at.store(millis, Relaxed);
    }
}

fn is_recent(seen: &Seen, millis: u64) -> bool {
    Duration::from_millis(millis.saturating_sub(seen.at.load(Relaxed))) < LATELY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &'static str) -> ModelName {
        ModelName::new(name.into()).unwrap()
    }

    #[test]
    fn each_gateway_counts_once_for_each_model_that_it_has_called_lately() {
        let start = Instant::now();
        let (gateways, one, other) = (Gateways::new(start), model("one"), model("other"));
        assert_eq!(gateways.count(&one, 7, start), 1);
        assert_eq!(gateways.count(&one, 7, start), 1);
        assert_eq!(gateways.count(&one, 8, start + LATELY / 2), 2);
        assert_eq!(gateways.count(&other, 8, start + LATELY / 2), 1);
        assert_eq!(gateways.count(&one, 8, start + LATELY), 1);
        assert_eq!(gateways.count(&one, 9, start + LATELY * 2), 1);
    }

    #[test]
    fn more_gateways_than_there_is_room_for_are_as_many_as_there_is() {
        let start = Instant::now();
        let (gateways, one) = (Gateways::new(start), model("one"));
        let counts = (0..1000).map(|id| gateways.count(&one, id, start));
        assert_eq!(counts.max(), Some(MOST as u32));
    }
}
