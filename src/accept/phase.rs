//! How the process stops, as seen from the door: one value that only goes forward.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use tokio::sync::watch;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its models are not loaded yet. Calls are answered, by those that are.
    Starting,
    /// It serves.
    Serving,
    /// It says that it will stop, and still takes calls: others need a while to notice.
    Announcing,
    /// It asks its connections to go and takes no new ones; calls in flight finish.
    Leaving,
    /// It cuts off what is left.
    Cut,
}

impl Phase {
    /// Every phase, in order, with its name.
    const ALL: [(Phase, &'static str); 5] = [
        (Phase::Starting, "starting"),
        (Phase::Serving, "serving"),
        (Phase::Announcing, "announcing"),
        (Phase::Leaving, "leaving"),
        (Phase::Cut, "cut"),
    ];
}

/// Moves the phase forward.
#[derive(Debug, Clone)]
pub struct Phases(watch::Sender<Phase>);

impl Default for Phases {
    fn default() -> Self {
        Phases(watch::Sender::new(Phase::Starting))
    }
}

impl Phases {
    /// Goes on to `phase`, unless it is there or further already.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let forward = *now < phase;
            *now = phase.max(*now);
            forward
        });
    }

    /// The phase now.
    pub fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// The same as a metric.
    pub fn metrics(&self) -> impl Collector + use<> {
        Telling(self.clone())
    }

    /// For whoever must see it change.
    pub fn watch(&self) -> PhaseWatch {
        PhaseWatch(self.0.subscribe())
    }
}

/// Sees the phase change.
#[derive(Debug, Clone)]
pub struct PhaseWatch(watch::Receiver<Phase>);

impl PhaseWatch {
    /// Waits until `phase` or a later one.
    pub async fn reached(&mut self, phase: Phase) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            // Nobody can move it any more, so that it will never come.
            std::future::pending::<()>().await;
        }
    }
}

/// Tells the phase as a metric.
#[derive(Debug)]
struct Telling(Phases);

impl Collector for Telling {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Whether the process is in this phase of its life: of its phases one is 1";
        let mut family = encoder.encode_descriptor("inference_phase", help, None, MetricType::Gauge)?;
        let now = self.0.now();
        for (phase, name) in Phase::ALL {
            family.encode_family(&[("phase", name)])?.encode_gauge(&u32::from(phase == now))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn of_the_phases_that_are_told_the_one_of_now_is_1() {
        let phases = Phases::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(phases.metrics()));
        for (phase, name) in Phase::ALL {
            phases.advance(phase);
            let mut text = String::new();
            encode_registry(&mut text, &registry).unwrap();
            let told: Vec<_> = text.lines().filter(|line| !line.starts_with('#') && line.ends_with(" 1")).collect();
            assert_eq!(told, [format!("inference_phase{{phase=\"{name}\"}} 1")], "{text}");
        }
    }
}
