//! What pushes promise, with the clock standing still.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, ExponentialHistogramDataPoint, Metric};
use prost::Message;

use super::*;
use crate::infer::{Stage, Timeline, Version};
use crate::observe::CallTable;
use crate::observe::otlp::Sent;

/// Takes messages and answers well or badly, or with `None` never.
#[derive(Debug, Clone)]
struct Scripted {
    answer: Option<bool>,
    messages: Arc<AtomicUsize>,
}

impl Scripted {
    fn of(answer: Option<bool>) -> Scripted {
        Scripted { answer, messages: Arc::default() }
    }
}

impl Export for Scripted {
    async fn export(&self, _message: Bytes) -> Sent {
        self.messages.fetch_add(1, Relaxed);
        let taken = match &self.answer {
            Some(true) => Ok(Taken::default()),
            Some(false) => Err("no".to_owned()),
            None => std::future::pending().await,
        };
        Sent { retries: 0, taken }
    }
}

const INTERVAL: Duration = Duration::from_secs(60);

fn told(histograms: Histograms) -> Told {
    let resource = vec![("service.name".to_owned(), "x".to_owned())];
    Told { resource, histograms, since: SystemTime::UNIX_EPOCH + Duration::from_secs(1) }
}

fn pusher(exporter: &Scripted) -> Pusher {
    pusher_at(exporter, INTERVAL)
}

fn pusher_at(exporter: &Scripted, interval: Duration) -> Pusher {
    let rules = Rules { interval, timeout: Duration::from_secs(30), histograms: Histograms::Explicit };
    let (told, metrics) = (Arc::new(told(rules.histograms)), Arc::new(Metrics::new(Arc::default())));
    let (exporter, counts) = (exporter.clone(), Arc::default());
    Pusher::of(Pushing { rules, exporter, told, metrics, counts, fails: false })
}

fn counted(pusher: &Pusher) -> (u64, u64) {
    (pusher.counts().taken(), pusher.counts().failed())
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_push_goes_out_in_each_interval_and_one_more_at_the_end() {
    let exporter = Scripted::of(Some(true));
    let pusher = pusher(&exporter);
    pass(INTERVAL * 3 + INTERVAL / 2).await;
    assert_eq!((exporter.messages.load(Relaxed), counted(&pusher)), (3, (3, 0)));
    pusher.flush(Duration::from_secs(2)).await;
    assert_eq!((exporter.messages.load(Relaxed), counted(&pusher)), (4, (4, 0)));
    pusher.flush(Duration::from_secs(2)).await;
    assert_eq!(exporter.messages.load(Relaxed), 4, "nothing after the last");
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_refused_or_never_taken_is_counted_and_the_next_is_tried() {
    for answer in [Some(false), None] {
        let exporter = Scripted::of(answer);
        let pusher = pusher(&exporter);
        pass(INTERVAL * 2 + INTERVAL * 3 / 4).await;
        assert_eq!((exporter.messages.load(Relaxed), counted(&pusher)), (2, (0, 2)), "{answer:?}");
        let began = Instant::now();
        pusher.flush(Duration::from_secs(2)).await;
        assert!(began.elapsed() <= Duration::from_secs(2));
        assert_eq!(counted(&pusher), (0, 3), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interval_beyond_every_clock_leaves_the_push_at_the_end() {
    let exporter = Scripted::of(Some(true));
    let pusher = pusher_at(&exporter, Duration::MAX);
    tokio::task::yield_now().await;
    pusher.flush(Duration::from_secs(2)).await;
    assert_eq!(counted(&pusher), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_pusher_that_is_dropped_pushes_no_more() {
    let exporter = Scripted::of(Some(true));
    drop(pusher(&exporter));
    pass(INTERVAL * 3).await;
    assert_eq!(exporter.messages.load(Relaxed), 0);
}

/// Models of which each took a call of 15 ms in the queue, whose trace is exported.
fn called(models: usize) -> Metrics {
    let calls = Arc::new(CallTable::new(|_| "FAILED"));
    for model in 0..models {
        let start = std::time::Instant::now() - Duration::from_millis(30);
        let timeline = Timeline::start(start);
        timeline.taken_by(&format!("model-{model}").parse().unwrap(), Version::new(1));
        timeline.end(Stage::Queue, start + Duration::from_millis(15));
        let mut at = start + Duration::from_millis(15);
        for stage in Stage::ALL.into_iter().filter(|stage| *stage as usize > Stage::Queue as usize) {
            at += Duration::from_micros(40);
            timeline.end(stage, at);
        }
        calls.measure(&timeline).end(std::time::Instant::now(), None, Some(0xabc));
    }
    Metrics::new(Arc::default()).with_calls(calls)
}

fn sent(metrics: &Metrics, histograms: Histograms) -> Vec<Metric> {
    let messages = told(histograms).messages(&metrics.families(), SystemTime::now());
    let mut sent = Vec::new();
    for message in messages {
        assert!(message.len() < 2 << 20, "{}", message.len());
        for of_resource in ExportMetricsServiceRequest::decode(message).unwrap().resource_metrics {
            assert_eq!(of_resource.resource.unwrap().attributes.len(), 1);
            sent.extend(of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
        }
    }
    sent
}

#[test]
fn histograms_are_told_by_powers_of_two_where_that_is_asked_for() {
    let sent = sent(&called(1), Histograms::Exponential);
    let stages = sent.iter().find(|metric| metric.name == "inference_stage_duration_seconds").unwrap();
    let Some(Data::ExponentialHistogram(stages)) = &stages.data else { panic!("{stages:?}") };
    assert_eq!(stages.aggregation_temporality(), AggregationTemporality::Cumulative);
    let is_queue = |point: &&ExponentialHistogramDataPoint| format!("{:?}", point.attributes).contains("\"queue\"");
    let queue = stages.data_points.iter().find(is_queue).unwrap();
    let buckets = queue.positive.as_ref().unwrap();
    // Between 2^-6.25 and 2^-6 s, which is numbered by its beginning here.
    assert_eq!((queue.scale, buckets.offset, &*buckets.bucket_counts), (2, -25, &[1][..]));
    assert_eq!((queue.count, queue.sum, queue.zero_count), (1, Some(0.015), 0));
    assert_eq!(queue.zero_threshold, 2f64.powi(-20));
    assert!(queue.start_time_unix_nano > 1_000_000_000 && queue.time_unix_nano >= queue.start_time_unix_nano);
    let exemplar = &queue.exemplars[0];
    assert_eq!((exemplar.trace_id.len(), exemplar.trace_id[14..].to_vec()), (16, vec![0x0a, 0xbc]));
    let whole = sent.iter().find(|metric| metric.name == "inference_call_duration_seconds").unwrap();
    assert!(matches!(whole.data, Some(Data::ExponentialHistogram(_))));
}

#[test]
fn what_a_large_process_tells_is_cut_into_messages_that_collectors_take() {
    let sent = sent(&called(1000), Histograms::Explicit);
    let points = |name: &str| {
        let data = sent.iter().filter(|metric| metric.name == name).map(|metric| match &metric.data {
            Some(Data::Histogram(own)) => own.data_points.len(),
            Some(Data::Sum(own)) => own.data_points.len(),
            other => panic!("{other:?}"),
        });
        (data.clone().count() > 1, data.sum::<usize>())
    };
    assert_eq!(points("inference_call_duration_seconds"), (true, 1000));
    assert_eq!(points("inference_calls_total"), (true, 1000));
    let (_, stages) = points("inference_stage_duration_seconds");
    assert!(stages >= 6000, "{stages}");
}
