//! The numbers of calls as data, for the forms that are no text: with both views of each histogram.

use super::CallTable;
use super::series::Example;
use super::tensorflow;
use super::text::seconds;
use super::told::{Bucket, CALL_DURATION, CALLS, Head, STAGE_DURATION, Timed, Told};
use crate::observe::exponential::SCHEMA;
use crate::observe::families::{self as data, Family, Metric, label, timestamp};

impl CallTable {
    /// What has been counted.
    pub(in crate::observe) fn families(&self) -> Vec<Family> {
        let told = self.told();
        let calls = told.iter().flat_map(|told| {
            let codes = self.by_code(&told.sums.ends).into_iter();
            codes.map(move |(code, count)| {
                let counter = data::Counter { start_timestamp: timestamp(told.since), ..data::counter(count as f64) };
                Metric { label: labels(told, [("code", code)]), counter: Some(counter), ..Metric::default() }
            })
        });
        let calls = data::family(&format!("{}_total", CALLS.name), CALLS.help, data::MetricType::Counter, calls);
        let whole = told.iter().filter_map(|told| Some(histogram(told, &told.whole()?)));
        let stages = told.iter().flat_map(|told| told.stages().map(move |stage| histogram(told, &stage)));
        vec![calls, durations(CALL_DURATION, whole), durations(STAGE_DURATION, stages)]
    }

    /// The same by TensorFlow Serving's names.
    pub(in crate::observe) fn families_as_tensorflow(&self) -> Vec<Family> {
        let models = self.by_model();
        let counts = models.iter().flat_map(|(model, of_model)| {
            of_model.codes.iter().map(move |(code, count)| Metric {
                label: vec![label("model_name", model), label("status", code)],
                untyped: Some(data::Untyped { value: *count as f64 }),
                ..Metric::default()
            })
        });
        let latencies = models.iter().map(|(model, of_model)| {
            let labels = [("model_name", &**model), ("API", "predict"), ("entrypoint", "GRPC")];
            let bucket = of_model.buckets().map(|(bound, below)| data::Bucket {
                cumulative_count: below,
                upper_bound: bound.map_or(f64::INFINITY, |micros| micros as f64),
                ..data::Bucket::default()
            });
            let histogram = data::Histogram {
                sample_count: of_model.whole.count(),
                sample_sum: (of_model.whole.nanos / 1000) as f64,
                bucket: bucket.collect(),
                ..data::Histogram::default()
            };
            let label = labels.map(|(name, value)| label(name, value)).into();
            Metric { label, histogram: Some(histogram), ..Metric::default() }
        });
        let (count, latency) = (tensorflow::COUNT, tensorflow::LATENCY);
        vec![
            data::family(count.name, count.help, data::MetricType::Untyped, counts),
            data::family(latency.name, latency.help, data::MetricType::Histogram, latencies),
        ]
    }
}

fn durations(head: Head, metrics: impl Iterator<Item = Metric>) -> Family {
    let family = data::family(head.name, head.help, data::MetricType::Histogram, metrics);
    Family { unit: "seconds".to_owned(), ..family }
}

fn labels<const N: usize>(told: &Told, more: [(&str, &str); N]) -> Vec<data::LabelPair> {
    let own = [("model", told.model.as_str()), ("version", told.version.as_str())];
    own.into_iter().chain(more).map(|(name, value)| label(name, value)).collect()
}

fn histogram(told: &Told, timed: &Timed<'_>) -> Metric {
    let exponential = timed.counted.exponential();
    let (spans, positive_delta) = exponential.spans();
    let examples = timed.buckets.iter().filter_map(|bucket| bucket.example.as_ref());
    let histogram = data::Histogram {
        sample_count: timed.count,
        sample_sum: seconds(timed.counted.nanos),
        bucket: timed.buckets.iter().map(bucket).collect(),
        start_timestamp: timestamp(told.since),
        schema: SCHEMA,
        zero_threshold: exponential.zero_threshold,
        zero_count: exponential.zero,
        positive_span: spans.into_iter().map(|(offset, length)| data::BucketSpan { offset, length }).collect(),
        positive_delta,
        exemplars: examples.map(exemplar).collect(),
        ..data::Histogram::default()
    };
    let label = match timed.stage {
        Some(stage) => labels(told, [("stage", stage)]),
        None => labels(told, []),
    };
    Metric { label, histogram: Some(histogram), ..Metric::default() }
}

fn bucket(bucket: &Bucket) -> data::Bucket {
    data::Bucket {
        cumulative_count: bucket.below,
        upper_bound: bucket.bound.map_or(f64::INFINITY, seconds),
        exemplar: bucket.example.as_ref().map(exemplar),
        ..data::Bucket::default()
    }
}

fn exemplar(example: &Example) -> data::Exemplar {
    let trace_id = label("trace_id", &format!("{:032x}", example.trace_id));
    data::Exemplar { label: vec![trace_id], value: seconds(example.nanos), timestamp: timestamp(example.at) }
}
