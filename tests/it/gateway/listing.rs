//! What is shown of endpoints, on the admin port and by the command, and that it is so.

use std::process::Stdio;
use std::time::Duration;

use infergate::config::Config;
use serde_json::Value;
use tokio::process::Command;
use tonic::Code;

use super::{call, worker};
use crate::cluster::api_server::ApiServer;
use crate::cluster::slice::{Slice, ready, terminating};
use crate::harness::{Deed, Fronting, Gate, Model, Part, Standing, echo_of, eventually, within};

/// The one that is named so.
fn named<'a>(endpoints: &'a [Value], name: &str) -> &'a Value {
    endpoints.iter().find(|endpoint| endpoint["name"] == name).unwrap_or_else(|| panic!("no {name} in {endpoints:?}"))
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap_or_else(|| panic!("{value} is no time")))
}

/// What `infergate endpoints` prints.
async fn printed(fronting: &Fronting, flags: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infergate"));
    command.args(["endpoints", "--admin", &fronting.admin().to_string()]).args(flags);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = within(command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The line of an endpoint in it.
fn line<'a>(printed: &'a str, name: &str) -> &'a str {
    printed.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}: {printed}"))
}

#[tokio::test]
async fn each_endpoint_is_shown_as_it_is() {
    let mut gate = Gate::closed();
    let worker = worker([Model::echo().versions(&[3]).behind(&gate)]).await;
    let broken = Part::with(&["broken"], Some(true), true, |_| Deed::Fail(Code::Internal, "out of order"));
    let (fails, leaves) = (Standing::of(&broken).await, Standing::of(&Part::echo()).await);
    let server = ApiServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (name, port, zone, condition) in [
        ("works", worker.grpc().port(), "east", ready()),
        ("fails", fails.address().port(), "west", ready()),
        ("leaves", leaves.address().port(), "east", terminating(true)),
    ] {
        server.put(Slice::new(name).on(port).of_pod(name, "127.0.0.1", zone, condition));
    }
    let kubeconfig = server.kubeconfig(folder.path(), "any");
    let followed = |config: &mut Config| {
        config.discovery.kubernetes = serde_json::from_value(serde_json::json!(["ml/workers:grpc"])).unwrap();
        config.discovery.kubeconfig = Some(kubeconfig);
    };
    let fronting = Fronting::start(&[], followed).await.unwrap();
    fronting.knows(3).await;

    let told = fronting.endpoints().await;
    let new = &named(&told, "works")["models"][0];
    assert_eq!(
        (&new["name"], &new["breaker"], &new["success_rate"]),
        (&"echo".into(), &"admitting".into(), &Value::Null)
    );

    let mut client = fronting.oip().await;
    gate.let_one_pass();
    call(&mut client, 1.0).await.unwrap();
    gate.next().await;
    let waiting = tokio::spawn({
        let mut client = client.clone();
        async move { call(&mut client, 2.0).await }
    });
    assert_eq!(gate.next().await, "2");
    let status = within(client.model_infer(echo_of("broken", &[1.0]))).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);

    let told = fronting.endpoints().await;
    for (name, address, zone, condition) in [
        ("works", worker.grpc(), "east", "ready"),
        ("fails", fails.address(), "west", "ready"),
        ("leaves", leaves.address(), "east", "leaving"),
    ] {
        let endpoint = named(&told, name);
        let expected = [address.to_string(), zone.to_owned(), condition.to_owned(), "connected".to_owned()];
        assert_eq!(["address", "zone", "condition", "connection"].map(|key| endpoint[key].as_str().unwrap()), expected);
        assert_eq!((&endpoint["surveyed"], &endpoint["lost"]), (&true.into(), &Value::Null));
        assert!(seconds(&endpoint["since_s"]) <= seconds(&endpoint["age_s"]), "{endpoint}");
    }
    let works = named(&told, "works");
    let echo = &works["models"][0];
    assert_eq!((&works["in_flight"], &echo["in_flight"]), (&1.into(), &1.into()), "{works}");
    assert_eq!((&echo["versions"], &echo["success_rate"]), (&serde_json::json!(["3"]), &1.0.into()), "{works}");
    assert!(seconds(&echo["predicted_s"]) > Duration::ZERO, "{works}");
    assert!(echo["why"].as_str().is_some_and(|why| !why.is_empty()), "{works}");
    assert!(named(&told, "fails")["models"][0]["predicted_s"].is_null(), "it says nothing of its load");
    assert_eq!(named(&told, "fails")["models"][0]["success_rate"], 0.0);

    eventually("it is ejected", async || {
        let _ = within(client.clone().model_infer(echo_of("broken", &[1.0]))).await;
        let told = fronting.endpoints().await;
        let model = &named(&told, "fails")["models"][0];
        model["breaker"] == "ejected"
    })
    .await;
    let address = leaves.address();
    drop(leaves);
    eventually("it is lost", async || fronting.endpoint(address).await["connection"] == "lost").await;
    let told = fronting.endpoints().await;
    let model = &named(&told, "fails")["models"][0];
    assert_eq!(model["spared"], false, "what answers nothing is of no use to anybody");
    assert!(model["why"].as_str().is_some_and(|why| why.contains("out of order")), "{model}");
    assert!(seconds(&model["since_s"]) < seconds(&named(&told, "fails")["age_s"]), "{model}");
    let lost = named(&told, "leaves");
    assert!(lost["lost"].as_str().is_some_and(|why| !why.is_empty()), "{lost}");
    assert!(seconds(&lost["since_s"]) < seconds(&lost["age_s"]), "{lost}");

    let printed = printed(&fronting, &[]).await;
    for (name, parts) in [
        ("works", &["east", "ready, connected", "echo", "3", " ms", "100.0 %", "admitting", " s ago: "][..]),
        ("fails", &["west", "ready, connected", "broken", "out of order"]),
        ("leaves", &["east", "leaving, lost: "]),
    ] {
        let line = line(&printed, name);
        let missing: Vec<_> = parts.iter().filter(|part| !line.contains(**part)).collect();
        assert!(missing.is_empty(), "{missing:?} is not in {line:?}");
    }
    let json: Value = serde_json::from_str(&self::printed(&fronting, &["--json"]).await).unwrap();
    assert_eq!(named(json["endpoints"].as_array().unwrap(), "works")["models"][0]["in_flight"], 1);

    gate.open();
    assert_eq!(within(waiting).await.unwrap().unwrap(), 2.0);
    eventually("nothing is under way", async || {
        let told = fronting.endpoints().await;
        named(&told, "works")["in_flight"] == 0 && named(&told, "works")["models"][0]["in_flight"] == 0
    })
    .await;
    fronting.finish().await;
    worker.finish().await;
}
