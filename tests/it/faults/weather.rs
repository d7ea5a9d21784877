//! What goes wrong when.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use turmoil::Sim;

use super::network::{BACKENDS, GATEWAY, backend};

/// When the last fault is over.
const HEALED: Duration = Duration::from_secs(5);
/// How long it may take after that until everything is as before: what lies dead without calls is found by the next
/// survey, given up after a second, and dialled again with growing pauses.
const RECOVERY: Duration = Duration::from_secs(6);
/// How long calls may be under way to a backend that was just taken away.
const ON_THE_WAY: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing passes, and what was under way is lost.
    Partition,
    /// Nothing passes from the gateway.
    Deaf,
    /// Nothing passes to the gateway.
    Mute,
    /// Nothing passes, and comes late.
    Hold,
    /// Everything passes slowly.
    Slow,
    /// The process dies, and starts again at the end.
    Crash,
}

const KINDS: [Kind; 6] = [Kind::Partition, Kind::Deaf, Kind::Mute, Kind::Hold, Kind::Slow, Kind::Crash];

#[derive(Debug, Clone)]
struct Fault {
    kind: Kind,
    backend: usize,
    during: Range<Duration>,
}

/// All that goes wrong. The last backend only ever is taken away and given back by who discovers.
#[derive(Debug, Clone)]
pub struct Weather {
    faults: Vec<Fault>,
    pub away: Range<Duration>,
}

impl Weather {
    pub fn of(seed: u64) -> Weather {
        let mut rng = Rng::with_seed(seed);
        let millis = |rng: &mut Rng, range: Range<u64>| Duration::from_millis(rng.u64(range));
        let mut faults: Vec<Fault> = Vec::new();
        for _ in 0..rng.usize(2..6) {
            let from = millis(&mut rng, 1000..4000);
            let to = (from + millis(&mut rng, 100..2000)).min(HEALED);
            let (kind, backend) = (KINDS[rng.usize(..KINDS.len())], rng.usize(..BACKENDS - 1));
            // Of two faults at one place the end of one would be the end of the other.
            let clashes =
                |other: &Fault| other.backend == backend && other.during.start < to && from < other.during.end;
            if !faults.iter().any(clashes) {
                faults.push(Fault { kind, backend, during: from..to });
            }
        }
        let from = millis(&mut rng, 1000..3000);
        let away = from..from + millis(&mut rng, 500..1500);
        Weather { faults, away }
    }

    /// From then on everything must be well.
    pub fn calm(&self) -> Duration {
        HEALED + RECOVERY
    }

    /// Whether a backend took long and yet was not lost. Such a one is left aside for as long as round trips are remembered,
    /// which is most of a minute, while others have time.
    pub fn was_slow(&self, backend: usize) -> bool {
        let slow = |fault: &Fault| fault.backend == backend && matches!(fault.kind, Kind::Slow | Kind::Hold);
        self.faults.iter().any(slow)
    }

    /// Whether a call that comes to this backend now comes for no good reason.
    pub fn is_removed(&self, backend: usize, at: Duration) -> bool {
        backend == BACKENDS - 1 && at > self.away.start + ON_THE_WAY && at < self.away.end
    }

    /// Does what is due between two moments.
    pub fn pass(&self, sim: &mut Sim<'_>, between: Range<Duration>) {
        for fault in &self.faults {
            let name = backend(fault.backend);
            if between.contains(&fault.during.start) {
                match fault.kind {
                    Kind::Partition => sim.partition(GATEWAY, &*name),
                    Kind::Deaf => sim.partition_oneway(GATEWAY, &*name),
                    Kind::Mute => sim.partition_oneway(&*name, GATEWAY),
                    Kind::Hold => sim.hold(GATEWAY, &*name),
                    Kind::Slow => sim.set_link_latency(GATEWAY, &*name, Duration::from_millis(150)),
                    Kind::Crash => sim.crash(&*name),
                }
            }
            if between.contains(&fault.during.end) {
                match fault.kind {
                    Kind::Partition => sim.repair(GATEWAY, &*name),
                    Kind::Deaf => sim.repair_oneway(GATEWAY, &*name),
                    Kind::Mute => sim.repair_oneway(&*name, GATEWAY),
                    Kind::Hold => sim.release(GATEWAY, &*name),
                    Kind::Slow => sim.set_link_latency(GATEWAY, &*name, Duration::from_millis(1)),
                    Kind::Crash => sim.bounce(&*name),
                }
            }
        }
    }
}
