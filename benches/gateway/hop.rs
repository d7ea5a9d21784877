//! How often the way from the gateway to the worker is paid: once per call, or once per batch where the gateway makes
//! batches. A gateway for each way of binding calls, each alone in front of a worker with ONNX Runtime.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use infergate::wire::proto::inference::model_infer_request::InferInputTensor;
use infergate::wire::proto::inference::{ModelInferRequest, ModelStatisticsRequest, ModelStatisticsResponse};
use prost::Message;

use crate::rig::cores::Cores;
use crate::rig::load::{Target, together};
use crate::rig::process::Process;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/models");
const MODEL: &str = "mlp";
const WIDTH: i64 = 512;
const STATISTICS: &str = "/inference.GRPCInferenceService/ModelStatistics";
const IN_FLIGHT: [usize; 5] = [1, 8, 32, 64, 128];
/// Of each pair of rounds, one by each gateway.
const ROUNDS: usize = 4;

/// What calls came to over one gateway.
#[derive(Default, Clone, Copy)]
struct Paid {
    calls: f64,
    asked: Asked,
    seconds: f64,
    /// CPU seconds of the gateway and of the worker.
    gateway: f64,
    worker: f64,
}

/// What a worker has done.
#[derive(Default, Clone, Copy)]
struct Asked {
    /// Calls that it has answered: what one was sent to it as.
    hops: f64,
    /// Batches that it has run.
    batches: f64,
}

/// A gateway, and the worker behind it.
struct Pair {
    binding: &'static str,
    gateway: Process,
    worker: Process,
    /// A call through the gateway.
    target: Target,
    /// A question about the worker.
    asking: Target,
}

pub async fn show(cores: Cores, time: Duration) {
    let mut pairs = Vec::new();
    for binding in ["early", "late"] {
        let worker =
            Process::infergate_on(cores.behind, &["worker", "--models", MODELS, "--set", "log.level=warn"]).await;
        let set = format!("model.{MODEL}.binding={binding}");
        let arguments = ["gateway", "--backend", &worker.address, "--set", &set, "--set", "log.level=warn"];
        let gateway = Process::infergate_on(cores.measured, &arguments).await;
        let target = Target::model_infer(&gateway, message()).await;
        target.until_it_answers().await;
        let asking = Target::model_infer(&worker, Bytes::new()).await;
        pairs.push(Pair { binding, gateway, worker, target, asking });
    }
    println!("a batch pays for the way to the worker once, where the gateway makes it ({MODEL}, ONNX Runtime):");
    for in_flight in IN_FLIGHT {
        let mut paid = [Paid::default(); 2];
        for _ in 0..ROUNDS {
            for (pair, paid) in pairs.iter().zip(&mut paid) {
                round(pair, in_flight, time, paid).await;
            }
        }
        for (pair, Paid { calls, asked, seconds, gateway, worker }) in pairs.iter().zip(paid) {
            let (gateway, worker) = (gateway * 1e6 / calls, worker * 1e6 / calls);
            println!(
                "  {:<5} at {in_flight:>3}  {:>6.0} calls/s  {:.3} hops a call  {:>5.2} hops a batch  CPU a call \
                 {gateway:>5.1} us of the gateway, {worker:>6.1} us of the worker",
                pair.binding,
                calls / seconds,
                asked.hops / calls,
                asked.hops / asked.batches
            );
        }
    }
}

async fn round(pair: &Pair, in_flight: usize, time: Duration, paid: &mut Paid) {
    let spent = || (pair.gateway.cpu().as_secs_f64(), pair.worker.cpu().as_secs_f64());
    let (before, earlier, began) = (spent(), asked(&pair.asking).await, std::time::Instant::now());
    paid.calls += together(&pair.target, in_flight, time).await.len() as f64;
    paid.seconds += began.elapsed().as_secs_f64();
    let (after, later) = (spent(), asked(&pair.asking).await);
    paid.asked.hops += later.hops - earlier.hops;
    paid.asked.batches += later.batches - earlier.batches;
    paid.gateway += after.0 - before.0;
    paid.worker += after.1 - before.1;
}

/// What the worker has done so far.
async fn asked(asking: &Target) -> Asked {
    let request = ModelStatisticsRequest { name: MODEL.into(), ..Default::default() };
    let path = PathAndQuery::from_static(STATISTICS);
    let told = asking.send(0, path, request.encode_to_vec().into(), None).await.expect("its statistics");
    let told = ModelStatisticsResponse::decode(told).expect("statistics");
    let mut asked = Asked::default();
    for model in &told.model_stats {
        asked.batches += model.execution_count as f64;
        let success = model.inference_stats.as_ref().and_then(|all| all.success.as_ref());
        asked.hops += success.map_or(0.0, |success| success.count as f64);
    }
    asked
}

/// A call of one row.
fn message() -> Bytes {
    let mut random = fastrand::Rng::with_seed(7);
    let input =
        InferInputTensor { name: "x".into(), datatype: "FP32".into(), shape: vec![1, WIDTH], ..Default::default() };
    let data: Vec<u8> = (0..WIDTH).flat_map(|_| random.f32().to_le_bytes()).collect();
    let request = ModelInferRequest {
        model_name: MODEL.into(),
        inputs: vec![input],
        raw_input_contents: vec![data.into()],
        ..Default::default()
    };
    request.encode_to_vec().into()
}
