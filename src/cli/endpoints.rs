//! `infergate endpoints`: what a gateway knows of its backends, from its admin port.

use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client;
use super::failure::{Failure, print};
use super::json::pretty;
use super::table::table;

/// How long the answer may take, and how long it may be.
const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST: usize = 256 << 20;

/// Flags of `infergate endpoints`.
#[derive(Debug, Args)]
pub(super) struct EndpointsArgs {
    /// The admin port of the gateway to ask
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8002")]
    admin: String,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl EndpointsArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        client::block_on(async {
            let asked = timeout(PATIENCE, self.ask()).await;
            let answer = asked.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
            let answer = answer.map_err(|why| Failure::failed(format_args!("{}: {why}", self.admin)))?;
            let text = if self.json { pretty(&answer) } else { listing(&answer) };
            print(&mut std::io::stdout(), &text)
        })
    }

    async fn ask(&self) -> Result<Value, String> {
        let stream = TcpStream::connect(&self.admin).await;
        let stream = stream.map_err(|error| format!("{error}: start a gateway, or name its admin port by --admin"))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut requests, connection) = handshake.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let request = Request::get("/endpoints").header("host", &self.admin).body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let response = requests.send_request(request).await.map_err(|error| error.to_string())?;
        if response.status() == hyper::StatusCode::NOT_FOUND {
            return Err("it has no endpoints: is it the admin port of a gateway?".to_owned());
        }
        let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| format!("its answer is not understood: {error}"))
    }
}

/// A line for each model of each endpoint; one for an endpoint without any.
fn listing(answer: &Value) -> String {
    let endpoints = answer["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
    if endpoints.is_empty() {
        return "no endpoints are known yet\n".to_owned();
    }
    let rows = endpoints.iter().flat_map(|endpoint| {
        let models = endpoint["models"].as_array().map_or(&[][..], Vec::as_slice);
        let empty = Value::Null;
        let models: Vec<Value> = if models.is_empty() { vec![empty] } else { models.to_vec() };
        models.into_iter().enumerate().map(move |(number, model)| row(endpoint, &model, number == 0))
    });
    table(
        [
            "ENDPOINT",
            "ZONE",
            "STATE",
            "MODEL",
            "VERSIONS",
            "IN FLIGHT ",
            "PREDICTED ",
            "SUCCESS ",
            "BREAKER",
            "LAST CHANGE",
        ],
        rows,
    )
}

fn row(endpoint: &Value, model: &Value, is_first: bool) -> [String; 10] {
    let first = |text: String| if is_first { text } else { String::new() };
    let name = match (text(&endpoint["name"]), text(&endpoint["address"])) {
        (name, address) if name == address => name,
        (name, address) => format!("{name} {address}"),
    };
    let state = match text(&endpoint["lost"]) {
        lost if lost.is_empty() => format!("{}, {}", text(&endpoint["condition"]), text(&endpoint["connection"])),
        lost => format!("{}, {}: {lost}", text(&endpoint["condition"]), text(&endpoint["connection"])),
    };
    let versions: Vec<String> = model["versions"].as_array().into_iter().flatten().map(text).collect();
    let versions = match text(&model["not_ready"]) {
        why if versions.is_empty() && !why.is_empty() => format!("not ready: {why}"),
        _ => versions.join(", "),
    };
    [
        first(name),
        first(text(&endpoint["zone"])),
        first(state),
        text(&model["name"]),
        versions,
        text(&model["in_flight"]),
        model["predicted_s"].as_f64().map_or(String::new(), |seconds| format!("{:.1} ms", seconds * 1e3)),
        model["success_rate"].as_f64().map_or(String::new(), |rate| format!("{:.1} %", rate * 100.0)),
        if model["spared"] == true { format!("{}, spared", text(&model["breaker"])) } else { text(&model["breaker"]) },
        last_change(endpoint, model),
    ]
}

/// What changed last and why: of its breaker, of its connection where it has no model.
fn last_change(endpoint: &Value, model: &Value) -> String {
    let (of, why) = if model.is_null() { (endpoint, &endpoint["connection"]) } else { (model, &model["why"]) };
    of["since_s"].as_f64().map_or(String::new(), |since| format!("{since:.0} s ago: {}", text(why)))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_endpoint_is_told_with_each_of_its_models() {
        let model = |name: &str| {
            json!({ "name": name, "versions": ["1", "2"], "not_ready": null, "in_flight": 3, "predicted_s": 0.0021,
                    "success_rate": 0.995, "breaker": "admitting", "why": "nothing failed yet", "since_s": 12.4 })
        };
        let mut spared = model("m");
        (spared["breaker"], spared["spared"]) = ("ejected".into(), true.into());
        let answer = json!({ "endpoints": [
            { "name": "worker-0", "address": "10.0.0.1:8001", "zone": "a", "condition": "ready",
              "connection": "connected", "lost": null, "models": [model("m"), model("n")] },
            { "name": "10.0.0.2:8001", "address": "10.0.0.2:8001", "zone": null, "condition": "ready",
              "connection": "lost", "lost": "refused", "since_s": 3.2, "models": [] },
            { "name": "w", "address": "10.0.0.3:8001", "zone": null, "condition": "ready", "connection": "connected",
              "lost": null, "since_s": 3.2, "models": [spared] },
        ] });
        let listing = listing(&answer);
        let lines: Vec<&str> = listing.lines().collect();
        assert!(lines[1].starts_with("worker-0 10.0.0.1:8001"), "{listing}");
        for part in ["ready, connected", "1, 2", "2.1 ms", "99.5 %", "admitting", "12 s ago: nothing failed yet"] {
            assert!(lines[1].contains(part), "{part}: {listing}");
        }
        assert!(lines[2].trim_start().starts_with("n "), "{listing}");
        assert!(lines[3].contains("ready, lost: refused") && lines[3].contains("3 s ago: lost"), "{listing}");
        assert!(lines[4].contains("ejected, spared"), "{listing}");
        assert_eq!(super::listing(&json!({ "endpoints": [] })), "no endpoints are known yet\n");
    }
}
