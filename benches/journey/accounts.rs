//! How much of a call's time its stages account for, at a worker alone and at a gateway in front of it: what the answer's
//! own breakdown says, and beside it how much of the client's time is outside of the server.

use std::time::{Duration, Instant};

use infergate::wire::proto::inference::ModelInferRequest;
use infergate::wire::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use prost::Message;
use tonic::transport::{Channel, Endpoint};

use crate::rig::process::Process;
use crate::rig::{median, verdict};
use crate::{MODELS, floor};

pub async fn show(short: bool) {
    let worker = Process::infergate(&["worker", "--models", MODELS]).await;
    let gateway = Process::infergate(&["gateway", "--backend", &worker.address]).await;
    let calls = if short { 50 } else { 2000 };
    for (name, process) in [("worker", &worker), ("gateway and worker", &gateway)] {
        let mut client = ready(&process.address).await;
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..calls {
            let began = Instant::now();
            let answer = client.model_infer(message()).await.expect("an answer");
            let took = began.elapsed().as_secs_f64() * 1e3;
            let told = answer.metadata().get("server-timing").expect("a breakdown").to_str().expect("text");
            let [other, total] = ["other", "total"].map(|name| entry(told, name));
            for (part, value) in parts.iter_mut().zip([other, total, took]) {
                part.push(value);
            }
        }
        let worst =
            parts[0].iter().zip(&parts[1]).map(|(other, total)| (other - 0.02).max(0.0) / total).fold(0.0, f64::max);
        let [other, total, took] = parts.map(|mut part| median(&mut part) * 1e3);
        println!(
            "{:<44} {other:>9.1} us of {total:.1} us at the server and {took:.1} us at its client, bound 20 us or 1 %: {}",
            format!("no stage accounts for, {name}"),
            verdict(worst <= 0.01)
        );
    }
}

fn message() -> ModelInferRequest {
    ModelInferRequest::decode(floor::digit_message()).expect("a message")
}

/// A client of a server that answers.
async fn ready(address: &str) -> GrpcInferenceServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut client = GrpcInferenceServiceClient::new(endpoint.connect().await.expect("a connection"));
    for _ in 0..100 {
        if client.model_infer(message()).await.is_ok() {
            break;
        }
        // A gateway listens before it knows what the worker serves.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client
}

/// An entry in milliseconds.
fn entry(told: &str, name: &str) -> f64 {
    let find = |entry: &str| entry.trim().strip_prefix(name)?.strip_prefix(";dur=")?.parse().ok();
    told.split(',').find_map(find).expect("it is in every breakdown")
}
