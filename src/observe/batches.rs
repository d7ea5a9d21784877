//! What batching did, by model version, read from its statistics when somebody asks, so that no call pays for it twice.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NativeHistogram, NativeHistogramBuckets};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;

use super::arenas;
use super::exponential::{Exponential, SCHEMA};
use super::gauges::QueueGauges;
use super::statistics::{ModelTotals, Statistics, StatisticsTable};
use crate::infer::{Close, ModelName, Version};

/// Upper bounds of the histogram of batch sizes, in rows.
const SIZES: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// Tells of the batches of the models in `statistics`.
#[derive(Debug)]
pub(super) struct Batches {
    pub(super) statistics: Arc<StatisticsTable>,
}

type Told = (ModelName, Option<Version>, Arc<Statistics>, ModelTotals);
type Exemplars = Option<&'static Exemplar<[(String, String); 0], f64>>;
const NO_EXEMPLAR: Exemplars = None;

impl Collector for Batches {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let told: Vec<Told> = self
            .statistics
            .all()
            .into_iter()
            .map(|(model, version, statistics)| {
                let totals = statistics.totals();
                (model, version, statistics, totals)
            })
            .collect();
        closed(&mut encoder, &told)?;
        sizes(&mut encoder, &told)?;
        elements(&mut encoder, &told)?;
        waiting(&mut encoder, &told)?;
        let versions = told.iter().map(|(model, version, statistics, _)| (model, *version, &**statistics));
        arenas::tell(&mut encoder, versions)?;
        let wait = "How long a call that comes now is predicted to wait";
        seconds(&mut encoder, &told, "inference_predicted_wait", wait, |queue| queue.wait_now())?;
        let delay = "How long calls wait for others while there is room to run them";
        seconds(&mut encoder, &told, "inference_batch_delay", delay, |queue| queue.delay_now())
    }
}

fn waiting(encoder: &mut DescriptorEncoder<'_>, told: &[Told]) -> fmt::Result {
    let mut family = encoder.encode_descriptor("inference_queue_calls", "Calls that wait", None, MetricType::Gauge)?;
    each(&mut family, told, |metric, (_, _, statistics, _)| metric.encode_gauge(&statistics.queue().waiting_now()))
}

/// A gauge of seconds, which are the end of its name.
fn seconds(
    encoder: &mut DescriptorEncoder<'_>,
    told: &[Told],
    name: &str,
    help: &str,
    value: impl Fn(&QueueGauges) -> Duration,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
    each(&mut family, told, |metric, (_, _, statistics, _)| {
        metric.encode_gauge(&value(statistics.queue()).as_secs_f64())
    })
}

/// Writes a metric for each model version.
fn each(
    family: &mut MetricEncoder<'_>,
    told: &[Told],
    write: impl Fn(&mut MetricEncoder<'_>, &Told) -> fmt::Result,
) -> fmt::Result {
    for entry in told {
        let labels = [("model", entry.0.to_string()), ("version", text(entry.1))];
        write(&mut family.encode_family(&labels)?, entry)?;
    }
    Ok(())
}

/// Empty for a queue of calls that name none.
pub(super) fn text(version: Option<Version>) -> String {
    version.map(|version| version.to_string()).unwrap_or_default()
}

fn closed(encoder: &mut DescriptorEncoder<'_>, told: &[Told]) -> fmt::Result {
    let help = "Batches that were run, by why they were closed";
    let mut family = encoder.encode_descriptor("inference_batches", help, None, MetricType::Counter)?;
    for (model, version, _, totals) in told {
        for (reason, count) in Close::ALL.into_iter().zip(totals.closed) {
            let labels = [("model", model.to_string()), ("version", text(*version)), ("closed", reason.name().into())];
            family.encode_family(&labels)?.encode_counter(&count, NO_EXEMPLAR)?;
        }
    }
    Ok(())
}

fn sizes(encoder: &mut DescriptorEncoder<'_>, told: &[Told]) -> fmt::Result {
    let help = "Rows of the batches that were run";
    let mut family = encoder.encode_descriptor("inference_batch_rows", help, None, MetricType::Histogram)?;
    each(&mut family, told, |metric, (_, _, _, totals)| {
        let runs = || totals.batches.iter().map(|(rows, batch)| (*rows, batch.execute.count));
        let mut buckets: Vec<(f64, u64)> = SIZES.iter().map(|size| (*size as f64, 0)).collect();
        buckets.push((f64::INFINITY, 0));
        let (mut sum, mut count) = (0.0, 0);
        for (rows, runs) in runs() {
            let bucket = SIZES.iter().position(|size| rows <= *size).unwrap_or(SIZES.len());
            buckets[bucket].1 += runs;
            (sum, count) = (sum + (rows * runs) as f64, count + runs);
        }
        let exponential = Exponential::of(runs().filter(|(_, runs)| *runs > 0));
        let (spans, deltas) = exponential.spans();
        let native = NativeHistogram {
            schema: SCHEMA,
            zero_threshold: exponential.zero_threshold,
            zero_count: exponential.zero,
            negative: NativeHistogramBuckets { spans: &[], deltas: &[] },
            positive: NativeHistogramBuckets { spans: &spans, deltas: &deltas },
            created: None,
        };
        metric.encode_histogram_with_native::<[(String, String); 0]>(sum, count, &buckets, None, native)
    })
}

fn elements(encoder: &mut DescriptorEncoder<'_>, told: &[Told]) -> fmt::Result {
    let help = "Elements of all inputs of runs, padding included";
    let mut family = encoder.encode_descriptor("inference_input_elements", help, None, MetricType::Counter)?;
    each(&mut family, told, |metric, (_, _, _, totals)| metric.encode_counter(&totals.elements, NO_EXEMPLAR))?;
    let help = "Elements of padding among the inputs of runs";
    let mut family = encoder.encode_descriptor("inference_padding_elements", help, None, MetricType::Counter)?;
    each(&mut family, told, |metric, (_, _, _, totals)| metric.encode_counter(&totals.padding, NO_EXEMPLAR))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::Metrics;
    use super::*;
    use crate::infer::{Composition, Execution, LoadReport};

    #[test]
    fn runs_are_told_by_model_with_their_sizes_padding_and_reasons() {
        let table = Arc::new(StatisticsTable::default());
        let statistics = table.of(&"m".parse().unwrap(), Version::new(3).unwrap());
        for (rows, padding, closed) in [(1, 0, Close::SlotFree), (5, 12, Close::Full)] {
            let (now, composition) = (Instant::now(), Composition { rows, elements: 40, padding, closed });
            let (device, load) = ("cpu".into(), LoadReport::default());
            statistics.executed(&Execution {
                batch: 1,
                composition,
                members: 1,
                device,
                taken: now,
                merged: now,
                executed: now,
                load,
            });
        }
        statistics.queue().delay(Duration::from_millis(2));
        let metrics = Metrics::new(table);
        let told = metrics.families();
        let rows = told.iter().find(|family| family.name == "inference_batch_rows").unwrap();
        let rows = rows.metric[0].histogram.as_ref().unwrap();
        // One row is bucket 0, five are bucket 10.
        assert_eq!((rows.sample_count, rows.sample_sum, &*rows.positive_delta), (2, 6.0, &[1, 0][..]));
        assert_eq!(rows.positive_span.iter().map(|span| span.offset).collect::<Vec<_>>(), [0, 9]);
        let text = metrics.text();
        for line in [
            "inference_batches_total{model=\"m\",version=\"3\",closed=\"full\"} 1",
            "inference_batches_total{model=\"m\",version=\"3\",closed=\"drain\"} 0",
            "inference_batch_rows_bucket{le=\"1.0\",model=\"m\",version=\"3\"} 1",
            "inference_batch_rows_bucket{le=\"8.0\",model=\"m\",version=\"3\"} 2",
            "inference_batch_rows_bucket{le=\"+Inf\",model=\"m\",version=\"3\"} 2",
            "inference_batch_rows_sum{model=\"m\",version=\"3\"} 6.0",
            "inference_input_elements_total{model=\"m\",version=\"3\"} 80",
            "inference_padding_elements_total{model=\"m\",version=\"3\"} 12",
            "inference_batch_delay_seconds{model=\"m\",version=\"3\"} 0.002",
            "inference_queue_calls{model=\"m\",version=\"3\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }
}
