//! Memory that engines keep for their runs: what allocators say of it when somebody asks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::statistics::Statistics;
use crate::infer::{ModelName, Version};

/// What an arena has of its device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArenaBytes {
    /// In use now.
    pub used: u64,
    /// Taken from the device, what is in use included.
    pub held: u64,
}

/// An allocator of an engine that keeps memory between runs.
pub trait Arena: Send + Sync {
    /// Whose memory it is, such as `cpu` or `cuda:0`.
    fn device(&self) -> &str;

    /// What it has now; none where it does not say.
    fn bytes(&self) -> Option<ArenaBytes>;
}

/// The arenas of one model version, each for as long as its engine has it.
#[derive(Default)]
pub struct Arenas(Mutex<Vec<Weak<dyn Arena>>>);

impl Arenas {
    /// Tells also of these.
    pub fn add(&self, arenas: &[Arc<dyn Arena>]) {
        let mut known = self.lock();
        known.retain(|arena| arena.strong_count() > 0);
        known.extend(arenas.iter().map(Arc::downgrade));
    }

    /// What they have together, by device.
    pub fn by_device(&self) -> BTreeMap<String, ArenaBytes> {
        // Whoever is the last to hold an arena frees its session, which is not to be done within the lock.
        let arenas: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        let mut sums = BTreeMap::<String, ArenaBytes>::new();
        for (arena, bytes) in arenas.iter().filter_map(|arena| Some((arena, arena.bytes()?))) {
            let sum = sums.entry(arena.device().to_owned()).or_default();
            *sum = ArenaBytes { used: sum.used + bytes.used, held: sum.held + bytes.held };
        }
        sums
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Arena>>> {
        self.0.lock().expect("nothing panics while arenas are listed")
    }
}

impl fmt::Debug for Arenas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Arenas").field(&self.by_device()).finish()
    }
}

/// Tells of the arenas of model versions, where any engine has one that says anything.
pub(super) fn tell<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    versions: impl Iterator<Item = (&'a ModelName, Option<Version>, &'a Statistics)>,
) -> fmt::Result {
    let told = versions.map(|(model, version, statistics)| (model, version, statistics.arenas().by_device()));
    let told: Vec<_> = told.filter(|(_, _, devices)| !devices.is_empty()).collect();
    if told.is_empty() {
        return Ok(());
    }
    let (name, help) = ("inference_arena", "Memory that the allocators of engines keep, or of it have in use");
    let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
    for (model, version, devices) in told {
        let version = version.map_or_else(String::new, |version| version.to_string());
        for (device, bytes) in devices {
            for (state, bytes) in [("held", bytes.held), ("used", bytes.used)] {
                let labels = [("model", model.as_str()), ("version", &version), ("device", &device), ("state", state)];
                family.encode_family(&labels)?.encode_gauge(&bytes)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Of(&'static str, u64);

    impl Arena for Of {
        fn device(&self) -> &str {
            self.0
        }

        fn bytes(&self) -> Option<ArenaBytes> {
            (self.1 > 0).then_some(ArenaBytes { used: self.1, held: 2 * self.1 })
        }
    }

    #[test]
    fn arenas_of_a_device_add_up_until_their_engine_is_gone_and_silent_ones_are_left_out() {
        let arenas = Arenas::default();
        let of = |arena: Of| -> Arc<dyn Arena> { Arc::new(arena) };
        let kept = [of(Of("cpu", 1)), of(Of("cuda:0", 5)), of(Of("cuda:1", 0))];
        let gone = [of(Of("cpu", 10))];
        arenas.add(&kept);
        arenas.add(&gone);
        let cpu = |arenas: &Arenas| arenas.by_device()["cpu"];
        assert_eq!(cpu(&arenas), ArenaBytes { used: 11, held: 22 });
        assert_eq!(arenas.by_device().into_keys().collect::<Vec<_>>(), ["cpu", "cuda:0"]);
        drop(gone);
        assert_eq!(cpu(&arenas), ArenaBytes { used: 1, held: 2 });
    }
}
