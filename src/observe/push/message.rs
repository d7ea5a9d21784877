//! Metrics as OTLP's messages, made of the same families as Prometheus's.

mod proto;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message;

use crate::observe::families::{self, Family, LabelPair, MetricType};
use proto::{
    Attribute, Buckets, Data, Exemplar, Explicit, ExplicitPoints, Exponential, ExponentialPoints, Gauge, Metric,
    Number, Request, Sum, Text,
};

/// Points of one metric in a message, and bytes at which another is begun: collectors take 4 MiB unless they are told
/// otherwise.
const POINTS: usize = 512;
const LONG: usize = 1 << 20;

/// All numbers are totals since they began to be counted.
const CUMULATIVE: i32 = 2;

/// In which form a histogram is told that has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Histograms {
    /// By the bounds that /metrics has in text, which every collector knows what to do with.
    #[default]
    Explicit,
    /// By powers of two.
    Exponential,
}

/// What is told with all numbers.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) resource: Vec<(String, String)>,
    pub(super) histograms: Histograms,
    /// When the process began to count.
    pub(super) since: SystemTime,
}

impl Told {
    /// Metrics as they are at `now`, in as many messages as they need.
    pub(super) fn messages(&self, families: &[Family], now: SystemTime) -> Vec<Bytes> {
        let times = (nanos(self.since), nanos(now));
        let mut messages = Vec::new();
        let (mut metrics, mut bytes) = (Vec::new(), 0);
        for family in families {
            for part in family.metric.chunks(POINTS) {
                let metric = self.metric(family, part, times);
                bytes += metric.encoded_len();
                metrics.push(metric);
                if bytes >= LONG {
                    messages.push(self.message(std::mem::take(&mut metrics)));
                    bytes = 0;
                }
            }
        }
        if !metrics.is_empty() {
            messages.push(self.message(metrics));
        }
        messages
    }

    fn message(&self, metrics: Vec<Metric>) -> Bytes {
        let resource = self.resource.iter().map(|(name, value)| attribute(name, value)).collect();
        Request::of(resource, metrics).encode_to_vec().into()
    }

    /// Part of a family, which is of one kind.
    fn metric(&self, family: &Family, part: &[families::Metric], times: (u64, u64)) -> Metric {
        let data = match family.r#type() {
            MetricType::Counter => Data::Sum(Sum {
                points: part.iter().map(|metric| counter(metric, times)).collect(),
                temporality: CUMULATIVE,
                is_monotonic: true,
            }),
            MetricType::Histogram if self.is_exponential(part) => Data::Exponential(ExponentialPoints {
                points: part.iter().filter_map(|metric| exponential(metric, times)).collect(),
                temporality: CUMULATIVE,
            }),
            MetricType::Histogram => Data::Explicit(ExplicitPoints {
                points: part.iter().filter_map(|metric| explicit(metric, times)).collect(),
                temporality: CUMULATIVE,
            }),
            _ => Data::Gauge(Gauge { points: part.iter().map(|metric| gauge(metric, times.1)).collect() }),
        };
        let unit = match &*family.unit {
            "seconds" => "s",
            "bytes" => "By",
            other => other,
        };
        Metric { name: family.name.clone(), help: family.help.clone(), unit: unit.to_owned(), data: Some(data) }
    }

    fn is_exponential(&self, part: &[families::Metric]) -> bool {
        let has_both =
            |metric: &families::Metric| metric.histogram.as_ref().is_some_and(|own| own.zero_threshold > 0.0);
        self.histograms == Histograms::Exponential && part.iter().all(has_both)
    }
}

fn counter(metric: &families::Metric, (since, now): (u64, u64)) -> Number {
    let counter = metric.counter.as_ref();
    Number {
        attributes: attributes(&metric.label),
        since: counter.and_then(|own| own.start_timestamp.as_ref()).map_or(since, at),
        now,
        value: Some(counter.map_or(0.0, |own| own.value)),
    }
}

fn gauge(metric: &families::Metric, now: u64) -> Number {
    let value = metric.gauge.as_ref().map(|own| own.value).or(metric.untyped.as_ref().map(|own| own.value));
    Number { attributes: attributes(&metric.label), since: 0, now, value }
}

fn explicit(metric: &families::Metric, (since, now): (u64, u64)) -> Option<Explicit> {
    let own = metric.histogram.as_ref()?;
    let mut below = 0;
    let counts = own.bucket.iter().map(|bucket| {
        let before = std::mem::replace(&mut below, bucket.cumulative_count);
        bucket.cumulative_count.saturating_sub(before)
    });
    Some(Explicit {
        attributes: attributes(&metric.label),
        since: own.start_timestamp.as_ref().map_or(since, at),
        now,
        count: own.sample_count,
        sum: Some(own.sample_sum),
        counts: counts.collect(),
        bounds: own.bucket.iter().map(|bucket| bucket.upper_bound).filter(|bound| bound.is_finite()).collect(),
        exemplars: own.exemplars.iter().map(exemplar).collect(),
    })
}

fn exponential(metric: &families::Metric, (since, now): (u64, u64)) -> Option<Exponential> {
    let own = metric.histogram.as_ref()?;
    Some(Exponential {
        attributes: attributes(&metric.label),
        since: own.start_timestamp.as_ref().map_or(since, at),
        now,
        count: own.sample_count,
        sum: Some(own.sample_sum),
        scale: own.schema,
        zero_count: own.zero_count,
        positive: Some(buckets(own)),
        exemplars: own.exemplars.iter().map(exemplar).collect(),
        zero_threshold: own.zero_threshold,
    })
}

/// All buckets from the first to the last in which anything is. Their numbers are one less than Prometheus's, which are
/// those of their ends.
fn buckets(own: &families::Histogram) -> Buckets {
    let mut counts: Vec<u64> = Vec::new();
    let mut deltas = own.positive_delta.iter();
    let mut count = 0;
    for (place, span) in own.positive_span.iter().enumerate() {
        let gap = if place == 0 { 0 } else { span.offset.max(0) as usize };
        counts.extend(std::iter::repeat_n(0, gap));
        for delta in deltas.by_ref().take(span.length as usize) {
            count += delta;
            counts.push(count.max(0) as u64);
        }
    }
    Buckets { offset: own.positive_span.first().map_or(0, |span| span.offset - 1), counts }
}

fn exemplar(own: &families::Exemplar) -> Exemplar {
    let is_trace = |label: &&LabelPair| label.name == "trace_id";
    let trace_id = own.label.iter().find(is_trace).and_then(|label| u128::from_str_radix(&label.value, 16).ok());
    Exemplar {
        at: own.timestamp.as_ref().map_or(0, at),
        value: Some(own.value),
        trace_id: trace_id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
    }
}

fn attributes(labels: &[LabelPair]) -> Vec<Attribute> {
    labels.iter().map(|label| attribute(&label.name, &label.value)).collect()
}

fn attribute(name: &str, value: &str) -> Attribute {
    Attribute { name: name.to_owned(), value: Some(Text { text: Some(value.to_owned()) }) }
}

fn at(timestamp: &prost_types::Timestamp) -> u64 {
    timestamp.seconds.max(0) as u64 * 1_000_000_000 + timestamp.nanos.max(0) as u64
}

fn nanos(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
