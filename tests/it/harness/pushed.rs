//! Metrics as they come to a collector, and as a page tells them: both as samples, so that they can be compared.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, HistogramDataPoint, Metric, ResourceMetrics};

/// A name with its labels, sorted; empty ones left out.
type Series = (String, BTreeMap<String, String>);

/// Values by series. A histogram is those of its buckets with those of its sum and its count.
pub type Samples = BTreeMap<Series, f64>;

/// What came at one time of one process.
#[derive(Debug, Clone)]
pub struct Pushed {
    pub resource: BTreeMap<String, String>,
    pub metrics: Vec<Metric>,
}

impl Pushed {
    pub(super) fn of(pushed: ResourceMetrics) -> Pushed {
        let resource = labels(&pushed.resource.unwrap().attributes);
        Pushed { resource, metrics: pushed.scope_metrics.into_iter().flat_map(|scope| scope.metrics).collect() }
    }

    /// The metric of that name.
    pub fn metric(&self, name: &str) -> &Metric {
        self.metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    pub fn samples(&self) -> Samples {
        let mut samples = Samples::new();
        for metric in &self.metrics {
            match metric.data.as_ref().unwrap() {
                Data::Gauge(gauge) => samples.extend(numbers(metric, &gauge.data_points)),
                Data::Sum(sum) => {
                    assert!(sum.is_monotonic && metric.name.ends_with("_total"), "{metric:?}");
                    assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
                    assert!(sum.data_points.iter().all(|point| point.start_time_unix_nano > 0), "{metric:?}");
                    samples.extend(numbers(metric, &sum.data_points));
                }
                Data::Histogram(histogram) => {
                    assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
                    samples.extend(histogram.data_points.iter().flat_map(|point| buckets(&metric.name, point)));
                }
                other => panic!("{other:?}"),
            }
        }
        samples
    }
}

fn labels(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let pair = |own: &KeyValue| match own.value.clone() {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => (own.key.clone(), text),
        other => panic!("{} is {other:?}", own.key),
    };
    attributes.iter().map(pair).filter(|(_, value)| !value.is_empty()).collect()
}

fn numbers(
    metric: &Metric,
    points: &[opentelemetry_proto::tonic::metrics::v1::NumberDataPoint],
) -> impl Iterator<Item = (Series, f64)> {
    points.iter().map(|point| match point.value {
        Some(Number::AsDouble(value)) => ((metric.name.clone(), labels(&point.attributes)), value),
        other => panic!("{} is {other:?}", metric.name),
    })
}

fn buckets(name: &str, point: &HistogramDataPoint) -> Vec<(Series, f64)> {
    let labels = labels(&point.attributes);
    let series = |end: &str| (format!("{name}_{end}"), labels.clone());
    let mut samples = vec![(series("count"), point.count as f64), (series("sum"), point.sum.expect("a sum"))];
    let mut below = 0;
    for (place, count) in point.bucket_counts.iter().enumerate() {
        below += count;
        let mut bucket = series("bucket");
        bucket.1.insert("le".to_owned(), bound(point.explicit_bounds.get(place).copied()));
        samples.push((bucket, below as f64));
    }
    samples
}

/// A bound as both write it here.
fn bound(bound: Option<f64>) -> String {
    bound.map_or("+Inf".to_owned(), |bound| bound.to_string())
}

/// What a page of text tells.
pub fn told(page: &str) -> Samples {
    let samples = page.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let line = line.split(" # ").next().unwrap();
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, text) = series.strip_suffix('}').and_then(|series| series.split_once('{')).unwrap_or((series, ""));
        let pairs = text.split("\",").filter_map(|pair| pair.trim_end_matches('"').split_once("=\""));
        let mut labels: BTreeMap<String, String> = pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        if let Some(le) = labels.get_mut("le") {
            *le = bound(le.parse().ok().filter(|bound: &f64| bound.is_finite()));
        }
        ((name.to_owned(), labels), value.parse().unwrap())
    });
    samples.collect()
}
