//! The first moments of a gateway and of a worker behind it: nobody who calls in them sees that something has just
//! started.

use std::net::{SocketAddr, TcpListener};

use infergate::config::{Config, Overrides, Period};
use infergate::role::Gateway;
use tonic::Code;

use crate::harness::{Gate, Model, Oip, Serving, echo, echoed, eventually, within};

/// A gateway of this worker, which it asks only once an hour what it serves unless there is reason to.
async fn gateway(worker: SocketAddr) -> Gateway {
    let flags = Overrides::default()
        .flag("listen", "listen", Some("127.0.0.1:0"))
        .flag("admin", "admin", Some("127.0.0.1:0"))
        .flag("backend", "discovery.backends", Some(worker))
        .flag("survey", "balance.survey_interval", Some("1h"));
    let mut config = Config::load(None, std::iter::empty(), flags).unwrap();
    config.drain.announce = Period::ZERO;
    within(Gateway::start(&config)).await.unwrap()
}

async fn client(gateway: &Gateway) -> Oip {
    within(Oip::connect(format!("http://{}", gateway.addresses().grpc))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_has_just_started_answers_its_first_call() {
    let worker = Serving::of([Model::echo()]).await;
    let gateway = gateway(worker.grpc()).await;
    let answer = within(client(&gateway).await.model_infer(echo(&[7.0]))).await.unwrap();
    assert_eq!(echoed(answer.get_ref()), [7.0]);
    within(gateway.drain()).await;
    worker.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_a_backend_that_is_there_starts_all_the_same() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = gateway(nobody).await;
    let refused = within(client(&gateway).await.model_infer(echo(&[7.0]))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    within(gateway.drain()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_called_soon_after_its_models_are_loaded() {
    let mut gate = Gate::closed();
    let (passage, address) = (gate.passage(), TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let model = Model::echo().loading(move |_, _| {
        passage.pass("load");
        Ok(())
    });
    let loading = tokio::spawn(Serving::with([model], move |config| config.listen = address));
    gate.next().await;
    let gateway = gateway(address).await;
    let mut client = client(&gateway).await;
    let refused = within(client.model_infer(echo(&[7.0]))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    gate.open();
    let worker = within(loading).await.unwrap();
    eventually("the gateway calls the worker", async || client.model_infer(echo(&[7.0])).await.is_ok()).await;
    within(gateway.drain()).await;
    worker.finish().await;
}
