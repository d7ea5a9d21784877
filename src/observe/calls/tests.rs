//! What the counts of calls promise.

use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::infer::Stage;
use crate::observe::exponential::SCHEMA;
use crate::observe::families::{Metric, delimited, label};

fn code(kind: Kind) -> &'static str {
    if kind == Kind::Late { "DEADLINE_EXCEEDED" } else { "UNAVAILABLE" }
}

fn table() -> Arc<CallTable> {
    Arc::new(CallTable::new(code))
}

fn taken(model: &str, version: u64) -> Timeline {
    let start = Instant::now() - Duration::from_millis(30);
    let timeline = Timeline::start(start);
    timeline.taken_by(&model.parse().unwrap(), Version::new(version));
    timeline.end(Stage::Queue, start + Duration::from_millis(15));
    timeline.end(Stage::Execute, start + Duration::from_micros(15_400));
    timeline
}

fn text(table: &CallTable) -> String {
    let mut text = String::new();
    table.tell(&mut text).unwrap();
    text
}

fn expect(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|told| told.starts_with(line)), "{line} is not in\n{text}");
    }
}

#[test]
fn of_calls_as_long_as_one_another_one_in_a_second_is_an_example_and_any_that_is_longer() {
    let series = series::Series::of(series::Sets::Striped);
    let spent = |millis| {
        let mut spent = Spent::default();
        spent.add(Some(Stage::Queue), Duration::from_millis(millis));
        spent
    };
    for (millis, trace_id, second) in [(15, 1, 0), (16, 2, 0), (300, 3, 0), (16, 4, 1), (310, 5, 0)] {
        series.exemplify(&spent(millis), trace_id, second);
    }
    let mut examples: Vec<u128> = series.examples().values().map(|example| example.trace_id).collect();
    examples.sort_unstable();
    assert_eq!(examples, [3, 3, 4, 4], "of the queue and of the whole");
}

#[test]
fn calls_are_told_by_model_code_and_stage_with_the_trace_of_one_that_is_exported() {
    let table = table();
    table.measure(&taken("m", 3)).end(Instant::now(), None, Some(0xabc));
    table.measure(&taken("m", 3)).end(Instant::now(), Some(Kind::Late), None);
    table.measure(&taken("m", 3)).end(Instant::now(), Some(Kind::NoBackend), None);
    table.measure(&taken("m", 3)).end(Instant::now(), Some(Kind::Draining), None);
    let text = text(&table);
    let trace = "1 # {trace_id=\"00000000000000000000000000000abc\"} 0.015 ";
    expect(
        &text,
        &[
            "inference_calls_total{model=\"m\",version=\"3\",code=\"OK\"} 1",
            "inference_calls_total{model=\"m\",version=\"3\",code=\"DEADLINE_EXCEEDED\"} 1",
            "inference_calls_total{model=\"m\",version=\"3\",code=\"UNAVAILABLE\"} 2",
            "inference_call_duration_seconds_bucket{model=\"m\",version=\"3\",le=\"0.02\"} 0",
            "inference_call_duration_seconds_bucket{model=\"m\",version=\"3\",le=\"+Inf\"} 4",
            "inference_call_duration_seconds_count{model=\"m\",version=\"3\"} 4",
            "inference_stage_duration_seconds_bucket{stage=\"queue\",model=\"m\",version=\"3\",le=\"0.005\"} 0",
            "inference_stage_duration_seconds_bucket{stage=\"execute\",model=\"m\",version=\"3\",le=\"0.001\"} 4",
            "inference_stage_duration_seconds_sum{stage=\"queue\",model=\"m\",version=\"3\"} 0.06",
            "inference_stage_duration_seconds_count{stage=\"other\",model=\"m\",version=\"3\"} 4",
            "# UNIT inference_stage_duration_seconds seconds",
        ],
    );
    let queue = text.lines().find(|line| line.contains("stage=\"queue\"") && line.contains("trace_id")).unwrap();
    assert!(queue.contains("le=\"0.02\"") && queue.contains(&trace.replace("1 #", "4 #")), "{queue}");
    assert!(!text.contains("stage=\"merge\""), "{text}");
}

#[test]
fn as_data_a_histogram_has_both_of_its_views_with_exemplars_and_since_when_it_counts() {
    let table = table();
    let before = SystemTime::now();
    table.measure(&taken("m", 3)).end(Instant::now(), None, Some(0xabc));
    table.measure(&taken("m", 3)).end(Instant::now(), None, None);
    let families = table.families();
    assert_eq!(families[0].metric[0].counter.as_ref().unwrap().value, 2.0);
    let stages = &families[2];
    assert_eq!((&*stages.name, &*stages.unit), ("inference_stage_duration_seconds", "seconds"));
    let is_queue = |metric: &&Metric| metric.label.contains(&label("stage", "queue"));
    let queue = stages.metric.iter().find(is_queue).unwrap().histogram.as_ref().unwrap();
    assert_eq!((queue.sample_count, queue.sample_sum, queue.schema), (2, 0.03, SCHEMA));
    // 15 ms lie between 2^-6.25 and 2^-6 s.
    let spans: Vec<_> = queue.positive_span.iter().map(|span| (span.offset, span.length)).collect();
    assert_eq!((spans, &*queue.positive_delta, queue.zero_count), (vec![(-24, 1)], &[2][..], 0));
    let bounds: Vec<_> = queue.bucket.iter().map(|bucket| (bucket.upper_bound, bucket.cumulative_count)).collect();
    assert!(bounds.contains(&(0.005, 0)) && bounds.contains(&(0.02, 2)), "{bounds:?}");
    assert_eq!(bounds.last(), Some(&(f64::INFINITY, 2)));
    assert_eq!(queue.exemplars[0].value, 0.015);
    assert!(queue.exemplars[0].timestamp.is_some());
    assert_eq!(queue.bucket.iter().filter(|bucket| bucket.exemplar.is_some()).count(), 1);
    let since = queue.start_timestamp.unwrap();
    let before = before.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((before..before + 60).contains(&since.seconds), "{since:?}");
}

#[test]
fn calls_that_no_model_took_are_told_as_others_and_callers_who_leave_are_counted() {
    let table = table();
    table.measure(&Timeline::start(Instant::now())).end(Instant::now(), Some(Kind::Late), None);
    drop(table.measure(&taken("m", 1)));
    Measured::OFF.end(Instant::now(), None, None);
    expect(
        &text(&table),
        &[
            "inference_calls_total{model=\"_other\",version=\"\",code=\"DEADLINE_EXCEEDED\"} 1",
            "inference_calls_total{model=\"m\",version=\"1\",code=\"UNAVAILABLE\"} 1",
        ],
    );
}

#[test]
fn versions_beyond_the_most_are_told_as_others_until_one_is_long_quiet() {
    let table = table();
    (0..MOST as u64).for_each(|version| table.measure(&taken("m", version)).end(Instant::now(), None, None));
    table.measure(&taken("n", 1)).end(Instant::now(), None, None);
    assert!(text(&table).contains("inference_calls_total{model=\"_other\",version=\"\",code=\"OK\"} 1"));
    let model = "n".parse().unwrap();
    assert!(table.grown(&model, None, QUIET.as_secs()).is_none());
    assert!(table.grown(&model, None, QUIET.as_secs() + 10).is_some());
    assert_eq!(table.known.load().values().map(SmallVec::len).sum::<usize>(), MOST);
}

#[test]
fn versions_of_a_model_are_told_as_one_by_the_names_of_tensorflow_serving() {
    let table = table();
    [1, 2].into_iter().for_each(|version| table.measure(&taken("m", version)).end(Instant::now(), None, None));
    table.measure(&taken("m", 2)).end(Instant::now(), Some(Kind::Late), None);
    let mut text = String::new();
    table.tell_as_tensorflow(&mut text).unwrap();
    let labels = "model_name=\"m\",API=\"predict\",entrypoint=\"GRPC\"";
    expect(
        &text,
        &[
            ":tensorflow:serving:request_count{model_name=\"m\",status=\"OK\"} 2",
            ":tensorflow:serving:request_count{model_name=\"m\",status=\"DEADLINE_EXCEEDED\"} 1",
            &format!(":tensorflow:serving:request_latency_bucket{{{labels},le=\"20000.0\"}} 0"),
            &format!(":tensorflow:serving:request_latency_bucket{{{labels},le=\"+Inf\"}} 3"),
            &format!(":tensorflow:serving:request_latency_count{{{labels}}} 3"),
        ],
    );
}

#[test]
fn what_threads_count_at_once_adds_up() {
    let table = table();
    let timeline = taken("m", 1);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..1000).for_each(|_| table.measure(&timeline).end(Instant::now(), None, None)));
        }
    });
    expect(&text(&table), &["inference_stage_duration_seconds_count{stage=\"queue\",model=\"m\",version=\"1\"} 8000"]);
}

#[test]
fn two_hundred_models_with_every_stage_fit_into_five_megabytes() {
    let table = table();
    for model in 0..200 {
        let timeline = taken(&format!("a-model-with-a-name-{model}"), 1);
        let mut at = timeline.started() + Duration::from_millis(20);
        for stage in Stage::ALL {
            at += Duration::from_micros(40);
            timeline.end(stage, at);
        }
        table.measure(&timeline).end(Instant::now(), None, None);
    }
    let length = text(&table).len();
    assert!(length < 5_000_000, "{length}");
    let length = delimited(&table.families()).len();
    assert!(length < 2_000_000, "{length}");
}
