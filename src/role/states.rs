//! What a process tells of the models that it serves, or should.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::infer::{Infer, Version};
use crate::models::{Catalog, IndexEntry, VersionState};

/// The models of a catalog.
pub(super) struct States<S: Infer>(pub(super) Catalog<S>);

impl<S: Infer> fmt::Debug for States<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("States")
    }
}

const STATES: [&str; 4] = ["ready", "loading", "failed", "unloaded"];

fn state(entry: &IndexEntry) -> &'static str {
    match entry.state {
        VersionState::Ready => "ready",
        VersionState::Loading => "loading",
        VersionState::Unavailable if entry.is_unloaded() => "unloaded",
        VersionState::Unavailable => "failed",
    }
}

impl<S: Infer> Collector for States<S> {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Whether a version is in this state: of its states one is 1";
        let mut family = encoder.encode_descriptor("inference_model_state", help, None, MetricType::Gauge)?;
        for entry in self.0.index() {
            let version = entry.version.as_ref().map_or_else(String::new, Version::to_string);
            for name in STATES {
                let labels = [("model", entry.name.as_str()), ("version", &version), ("state", name)];
                family.encode_family(&labels)?.encode_gauge(&u32::from(state(&entry) == name))?;
            }
        }
        let (name, help) = ("inference_model_load", "How long loading and warming up what serves took");
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for served in self.0.served() {
            let labels = [("model", served.name.as_str()), ("version", &served.version.to_string())];
            family.encode_family(&labels)?.encode_gauge(&served.load_time.as_secs_f64())?;
        }
        Ok(())
    }
}
