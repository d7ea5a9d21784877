//! What processes tell at /metrics, and that each of it is documented.

use std::collections::BTreeSet;
use std::path::Path;

use infergate::config::Config;
use infergate::error::{Error, Kind};
use infergate::tensor::DType;
use serde_json::json;
use tonic::Code;

use crate::harness::{Collector, FREE, Fronting, INFER, Model, Serving, echo, echo_of, framed, refused_for, within};

const HELD: &str = "model=\"echo\",version=\"1\"";

async fn told(fronting: &Fronting) -> String {
    fronting.get("/metrics").await.1
}

/// A process that has everything to tell that it can be asked for.
fn all(collector: &Collector) -> impl Fn(&mut Config) {
    let endpoint = collector.endpoint();
    move |config| {
        config.load_report = true;
        config.tracing.endpoint = endpoint.clone();
        config.metrics.endpoint = endpoint.clone();
        config.tracing.ratio = Some(1.0);
        config.metrics.compatible = serde_json::from_value(json!(["triton", "tensorflow-serving"])).unwrap();
    }
}

fn expect(text: &str, lines: &[String]) {
    for line in lines {
        assert!(text.lines().any(|told| told.starts_with(line.as_str())), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn why_calls_were_refused_is_told_and_the_reasons_add_up() {
    let broken = Model::identity("broken", DType::Fp32, &[FREE])
        .loading(|_, _| Err(Error::new(Kind::Unloadable, "this is no model")));
    let serving = Serving::of([Model::echo(), broken]).await;
    let raw = serving.raw().await;
    let call = |model: &str| framed(&echo_of(model, &[1.0]));
    for (headers, body, code, reason) in [
        (&[][..], call("unheard-of"), Code::NotFound, "unknown_model"),
        (&[], call("broken"), Code::Unavailable, "not_ready"),
        (&[("grpc-timeout", "junk")], call("echo"), Code::InvalidArgument, "invalid"),
        (&[("grpc-encoding", "snappy")], call("echo"), Code::Unimplemented, "unsupported"),
    ] {
        assert_eq!(refused_for(serving.admin(), reason).await, 0);
        assert_eq!(raw.call(INFER, headers, body).await.code(), code);
        assert_eq!(refused_for(serving.admin(), reason).await, 1, "{reason}");
    }
    let text = serving.metrics().await;
    let reasons = text.lines().filter(|line| line.starts_with("inference_calls_refused_total{"));
    let sum: u64 = reasons.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    expect(&text, &["inference_calls_ended_total{end=\"refused\"} 4".to_owned()]);
    assert_eq!((sum, serving.finish().await.refused), (4, 4));
}

#[tokio::test]
async fn a_call_is_told_by_stage_with_its_trace_at_the_worker_and_at_the_gateway() {
    let collector = Collector::grpc().await;
    let serving = Serving::with([Model::echo()], all(&collector)).await;
    let fronting = Fronting::with(&[serving.grpc()], all(&collector)).await;
    within(fronting.oip().await.model_infer(echo(&[1.0]))).await.unwrap();
    let unknown = within(fronting.oip().await.model_infer(echo_of("unheard-of", &[1.0]))).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    for (text, stage) in [(serving.metrics().await, "queue"), (told(&fronting).await, "return")] {
        let stage = format!("stage=\"{stage}\"");
        expect(
            &text,
            &[
                format!("inference_calls_total{{{HELD},code=\"OK\"}} 1"),
                format!("inference_call_duration_seconds_count{{{HELD}}} 1"),
                format!("inference_stage_duration_seconds_count{{{stage},{HELD}}} 1"),
                format!("inference_stage_duration_seconds_count{{stage=\"execute\",{HELD}}} 1"),
                "inference_calls_ended_total{end=\"answered\"} 1".to_owned(),
                "inference_calls_in_flight 0".to_owned(),
            ],
        );
        let has_trace = |line: &str| line.starts_with("inference_call_duration") && line.contains("# {trace_id=\"");
        assert!(text.lines().any(has_trace), "{text}");
        assert!(!text.contains("unheard-of"), "{text}");
    }
    let told_by_worker = [
        "inference_model_state{model=\"echo\",version=\"1\",state=\"ready\"} 1",
        "inference_arena_bytes{model=\"echo\",version=\"1\",device=\"cpu\",state=\"held\"} 4096",
        "process_open_fds ",
    ];
    expect(&serving.metrics().await, &told_by_worker.map(str::to_owned));
    let told_by_gateway =
        ["balance_budget_attempts{model=\"echo\"} 100", "balance_breaker_changes_total{model=\"echo\",why=\"rate\"} 0"];
    expect(&told(&fronting).await, &told_by_gateway.map(str::to_owned));
    let others = "inference_calls_total{model=\"_other\",version=\"\",code=\"NOT_FOUND\"} 1";
    expect(&told(&fronting).await, &[others.to_owned()]);
    fronting.finish().await;
    serving.finish().await;
}

#[tokio::test]
async fn a_process_that_does_not_measure_calls_counts_only_their_ends() {
    let serving = Serving::with([Model::echo()], |config| config.metrics.calls = false).await;
    within(serving.oip().await.model_infer(echo(&[1.0]))).await.unwrap();
    let text = serving.metrics().await;
    expect(&text, &["inference_calls_ended_total{end=\"answered\"} 1".to_owned()]);
    assert!(!text.contains("stage_duration") && !text.contains("call_duration"), "{text}");
    serving.finish().await;
}

/// Names in the tables of the documentation: the first thing in a row, in backquotes.
fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let name = |line: &str| Some(line.strip_prefix("| `")?.split(['`', '{']).next()?.to_owned());
    text.lines().filter_map(name).collect()
}

/// Names of what is told, as those have them who ask: of a counter with its end.
fn names(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let name = |line: &str| {
        let (name, kind) = line.split_once(' ').unwrap();
        if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
    };
    types.map(name).collect()
}

#[tokio::test]
async fn each_metric_is_documented_and_none_that_is_not_told() {
    let collector = Collector::grpc().await;
    let serving = Serving::with([Model::echo()], all(&collector)).await;
    let fronting = Fronting::with(&[serving.grpc()], all(&collector)).await;
    within(fronting.oip().await.model_infer(echo(&[1.0]))).await.unwrap();
    let told = &names(&serving.metrics().await) | &names(&told(&fronting).await);
    let documented = documented();
    let undocumented: Vec<_> = told.difference(&documented).collect();
    assert!(undocumented.is_empty(), "write them into docs/metrics.md: {undocumented:?}");
    let untold: Vec<_> = documented.difference(&told).collect();
    assert!(untold.is_empty(), "docs/metrics.md has what is not told: {untold:?}");
    fronting.finish().await;
    serving.finish().await;
}
