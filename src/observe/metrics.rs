//! Metrics of a process, in each form in which somebody may ask for them.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use super::batches::Batches;
use super::calls::CallTable;
use super::families::{Family, delimited, families};
use super::process::Process;
use super::statistics::StatisticsTable;
use super::triton::Triton;

/// The media type of [`Metrics::text`].
pub const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The media type of [`Metrics::protobuf`].
pub const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// What a process tells of itself.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Option<Arc<CallTable>>,
    /// Whether calls are told by TensorFlow Serving's names as well.
    as_tensorflow: bool,
}

impl Metrics {
    /// Metrics of the process, and of the models in `statistics`.
    pub fn new(statistics: Arc<StatisticsTable>) -> Metrics {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        registry.register_collector(Box::new(Batches { statistics }));
        Metrics { registry, calls: None, as_tensorflow: false }
    }

    /// Tells also of calls.
    pub fn with_calls(self, calls: Arc<CallTable>) -> Metrics {
        Metrics { calls: Some(calls), ..self }
    }

    /// Tells the models in `statistics` by Triton's names as well.
    pub fn with_triton_names(self, statistics: Arc<StatisticsTable>) -> Metrics {
        self.with(Triton(statistics))
    }

    /// Tells calls by TensorFlow Serving's names as well.
    pub fn with_tensorflow_names(self) -> Metrics {
        Metrics { as_tensorflow: true, ..self }
    }

    /// Tells also what another part of the process collects.
    pub fn with(mut self, collector: impl Collector) -> Metrics {
        self.registry.register_collector(Box::new(collector));
        self
    }

    /// All of them now.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing into a string does not fail");
        text
    }

    /// All of them now, in the form of Prometheus that has native histograms as well.
    pub fn protobuf(&self) -> Vec<u8> {
        delimited(&self.families())
    }

    /// All of them now, as data.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = families(&self.registry);
        if let Some(calls) = &self.calls {
            families.extend(calls.families());
            if self.as_tensorflow {
                families.extend(calls.families_as_tensorflow());
            }
        }
        families
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        encode_registry(text, &self.registry)?;
        if let Some(calls) = &self.calls {
            calls.tell(text)?;
            if self.as_tensorflow {
                calls.tell_as_tensorflow(text)?;
            }
        }
        encode_eof(text)
    }
}
