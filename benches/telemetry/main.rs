//! What telemetry costs callers of a gateway: with each kind of collector against a gateway that tells nothing, and while
//! the metrics of one with many models and endpoints are read. What it costs in instructions is counted by
//! `deploy/scripts/instructions`.
//!
//! The gateway has one core, the load and what is behind the gateway others. `--short` sees that it runs.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod collectors;
#[path = "../rig/mod.rs"]
mod rig;
mod scrape;

use std::time::Duration;

use bytes::Bytes;
use infergate::wire::proto::inference::ModelInferRequest;
use infergate::wire::proto::inference::model_infer_request::InferInputTensor;
use prost::Message;

use rig::cores::Cores;
use rig::stub;

/// Models of the worker.
const MODELS: usize = 200;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    /// How long each side is loaded in a round.
    time: Duration,
}

fn name(number: usize) -> String {
    format!("model-{number}")
}

/// A call of a model, of some 300 bytes; each of another length, by which the stub knows them apart.
fn message(model: usize) -> Bytes {
    let elements = 256 + model as i64;
    let input =
        InferInputTensor { name: "x".into(), datatype: "UINT8".into(), shape: vec![1, elements], ..Default::default() };
    let request = ModelInferRequest {
        model_name: name(model),
        inputs: vec![input],
        raw_input_contents: vec![vec![7; elements as usize].into()],
        ..Default::default()
    };
    request.encode_to_vec().into()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some(at) = arguments.iter().position(|argument| argument == "--be") {
        return match arguments[at + 1].as_str() {
            // Every address of this machine leads there, so that it is as many backends as are named.
            "stub" => runtime.block_on(stub::serve("0.0.0.0", (0..MODELS).map(name))),
            collector => runtime.block_on(collectors::serve(collector)),
        };
    }
    let short = arguments.iter().any(|argument| argument == "--short");
    let (rounds, millis) = if short { (3, 100) } else { (25, 400) };
    let effort = Effort { rounds, time: Duration::from_millis(millis) };
    let cores = Cores::share();
    cores.load.take();
    println!(
        "the load is on {}, workers and collectors on {}, each gateway on {}",
        cores.load, cores.behind, cores.measured
    );
    runtime.block_on(async {
        collectors::compare(cores, effort).await;
        scrape::measure(cores, effort).await;
    });
}
