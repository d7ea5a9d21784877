//! Metrics as data: what is told in every form but text is written from these. They are Prometheus's own messages, which
//! have all that any form needs: both views of a histogram, exemplars, and since when something is counted.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::prometheus_protobuf::encode;
pub(super) use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::{
    Bucket, BucketSpan, Counter, Exemplar, Histogram, LabelPair, Metric, MetricFamily as Family, MetricType, Untyped,
};
use prometheus_client::registry::Registry;
use prost::Message;

/// What a registry has.
pub(super) fn families(registry: &Registry) -> Vec<Family> {
    let mut families = encode(registry).expect("numbers can be told");
    let untyped = families.iter_mut().filter(|family| family.r#type == MetricType::Untyped as i32);
    // The client tells these as gauges, which nobody looks for in such a family.
    for metric in untyped.flat_map(|family| &mut family.metric) {
        metric.untyped = metric.gauge.take().map(|gauge| Untyped { value: gauge.value });
    }
    families
}

/// All of them in Prometheus's own form: one after another, each with its length before it.
pub(super) fn delimited(families: &[Family]) -> Vec<u8> {
    let told = families.iter().filter(|family| !family.metric.is_empty());
    told.flat_map(Message::encode_length_delimited_to_vec).collect()
}

/// A family of metrics.
pub(super) fn family(name: &str, help: &str, kind: MetricType, metrics: impl IntoIterator<Item = Metric>) -> Family {
    let (name, help) = (name.to_owned(), help.to_owned());
    Family { name, help, r#type: kind as i32, metric: metrics.into_iter().collect(), unit: String::new() }
}

pub(super) fn label(name: &str, value: &str) -> LabelPair {
    LabelPair { name: name.to_owned(), value: value.to_owned() }
}

pub(super) fn counter(value: f64) -> Counter {
    Counter { value, ..Counter::default() }
}

pub(super) fn timestamp(at: SystemTime) -> Option<prost_types::Timestamp> {
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    Some(prost_types::Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::infer::Version;
    use crate::observe::{CallTable, Metrics, StatisticsTable};

    fn read(mut page: &[u8]) -> Vec<Family> {
        let mut families = Vec::new();
        while !page.is_empty() {
            families.push(Family::decode_length_delimited(&mut page).unwrap());
        }
        families
    }

    #[test]
    fn each_family_of_the_text_is_on_the_page_of_protobuf_and_no_other() {
        let statistics = Arc::new(StatisticsTable::default());
        let model = statistics.of(&"m".parse().unwrap(), Version::new(1).unwrap());
        let calls = Arc::new(CallTable::new(|_| "FAILED"));
        calls.measure(&crate::infer::Timeline::start(std::time::Instant::now()));
        let metrics = Metrics::new(statistics.clone()).with_calls(calls);
        let metrics = metrics.with_triton_names(statistics).with_tensorflow_names();
        let text = metrics.text();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let mut expected: Vec<(String, MetricType)> = types
            .map(|(name, kind)| match kind {
                "counter" => (format!("{name}_total"), MetricType::Counter),
                "gauge" => (name.to_owned(), MetricType::Gauge),
                "histogram" => (name.to_owned(), MetricType::Histogram),
                other => (name.to_owned(), Some(MetricType::Untyped).filter(|_| other == "unknown").unwrap()),
            })
            .collect();
        let families = read(&metrics.protobuf());
        let mut told: Vec<_> = families.iter().map(|family| (family.name.clone(), family.r#type())).collect();
        expected.sort();
        told.sort();
        assert_eq!(told, expected);
        let untyped = families.iter().filter(|family| family.r#type() == MetricType::Untyped);
        assert!(untyped.flat_map(|family| &family.metric).all(|metric| metric.untyped.is_some()));
        drop(model);
    }
}
