//! TLS between the gateway and its backends.

use infergate::config::Config;

use crate::harness::{Authority, Fronting, Model, Serving, Signed, eventually};

async fn worker(server: &Signed, clients: Option<&Authority>) -> Serving {
    Serving::with([Model::echo()], |config: &mut Config| {
        (config.tls.cert, config.tls.key) = (Some(server.cert.clone()), Some(server.key.clone()));
        config.tls.client_ca = clients.map(Authority::certificate);
    })
    .await
}

/// Why the gateway has no connection to the worker.
async fn refusal(worker: &Serving, configure: impl FnOnce(&mut Config)) -> String {
    let fronting = Fronting::start(&[worker.grpc()], configure).await.unwrap();
    let mut why = String::new();
    eventually("it is lost", async || {
        let told = fronting.endpoint(worker.grpc()).await;
        why = told["lost"].as_str().unwrap_or_default().to_owned();
        told["connection"] == "lost"
    })
    .await;
    fronting.finish().await;
    why
}

#[tokio::test]
async fn backends_are_called_over_tls_where_their_authority_is_given() {
    let authority = Authority::new();
    let worker = worker(&authority.sign("worker"), None).await;
    let fronting =
        Fronting::with(&[worker.grpc()], |config| config.backend_tls.ca = Some(authority.certificate())).await;
    fronting.answers_as_ever().await;
    fronting.finish().await;
    let stranger = Authority::new();
    let why = refusal(&worker, |config| config.backend_tls.ca = Some(stranger.certificate())).await;
    assert!(why.contains("certificate"), "{why}");
    let why = refusal(&worker, |_| ()).await;
    assert_ne!(why, "");
    worker.finish().await;
}

#[tokio::test]
async fn a_gateway_shows_its_certificate_where_backends_want_one() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let worker = worker(&authority.sign("worker"), Some(&clients)).await;
    let own = clients.sign("gateway");
    let fronting = Fronting::with(&[worker.grpc()], |config| {
        config.backend_tls.ca = Some(authority.certificate());
        (config.backend_tls.cert, config.backend_tls.key) = (Some(own.cert.clone()), Some(own.key.clone()));
    })
    .await;
    fronting.answers_as_ever().await;
    fronting.finish().await;
    let why = refusal(&worker, |config| config.backend_tls.ca = Some(authority.certificate())).await;
    assert_ne!(why, "");
    worker.finish().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_keep_the_gateway_from_starting() {
    let authority = Authority::new();
    let missing = authority.folder.path().join("missing.pem");
    let started = Fronting::start(&["127.0.0.1:1".parse().unwrap()], |config| {
        config.backend_tls.ca = Some(missing.clone());
    })
    .await;
    let line = started.err().expect("it started").to_string();
    assert!(line.starts_with("backend_tls: ") && line.contains(missing.to_str().unwrap()), "{line}");
}
