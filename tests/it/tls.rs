//! TLS on the calls' port.

use std::path::{Path, PathBuf};

use infergate::config::Config;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Code;

use crate::harness::{Authority, INFER, Model, Raw, Serving, Signed, Wire, echo, framed, within};

async fn connect(serving: &Serving, connector: TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = within(TcpStream::connect(serving.grpc())).await?;
    within(connector.connect(ServerName::try_from("localhost").unwrap(), stream)).await
}

fn with(server: &Signed, client_ca: Option<PathBuf>) -> impl FnOnce(&mut Config) {
    |config: &mut Config| {
        config.tls.cert = Some(server.cert.clone());
        config.tls.key = Some(server.key.clone());
        config.tls.client_ca = client_ca;
    }
}

/// Whether a call is answered on a connection.
async fn answers(stream: TlsStream<TcpStream>) -> bool {
    let Ok(raw) = Raw::over(stream).await else { return false };
    let Ok(mut pending) = raw.begin(INFER, &[]).await else { return false };
    pending.put(framed(&echo(&[1.0])), true);
    pending.answer().await.is_ok_and(|answer| answer.code() == Code::Ok)
}

#[tokio::test]
async fn a_call_is_answered_over_tls_as_http_2() {
    let authority = Authority::new();
    let serving = Serving::with([Model::echo()], with(&authority.sign("server"), None)).await;
    let stream = connect(&serving, authority.client(None, &[b"h2"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert!(answers(stream).await);
    // Nobody else's protocol is agreed on.
    assert!(connect(&serving, authority.client(None, &[b"http/1.1"])).await.is_err());
    serving.finish().await;
}

#[tokio::test]
async fn whoever_speaks_without_tls_or_not_at_all_is_cut_off() {
    let authority = Authority::new();
    let server = authority.sign("server");
    let serving = Serving::with([Model::echo()], |config| {
        with(&server, None)(config);
        config.http2.handshake_timeout = "500ms".parse().unwrap();
    })
    .await;
    let mut plain = Wire::open(serving.grpc()).await;
    let said = plain.rest_as_bytes().await;
    assert!(said.len() < 10, "no more than an alert of TLS: {said:?}");
    let mut silent = Wire::silent(serving.grpc()).await;
    assert_eq!(silent.rest_as_bytes().await, b"");
    let stream = connect(&serving, authority.client(None, &[b"h2"])).await.unwrap();
    assert!(answers(stream).await);
    // TLS and then nothing: the handshake of HTTP/2 has its own time.
    let mut quiet = connect(&serving, authority.client(None, &[b"h2"])).await.unwrap();
    let mut rest = Vec::new();
    let _ = within(tokio::io::AsyncReadExt::read_to_end(&mut quiet, &mut rest)).await;
    assert_eq!(rest, b"");
    serving.finish().await;
}

#[tokio::test]
async fn with_an_authority_for_clients_each_needs_its_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let client_ca = Some(authority.certificate());
    let serving = Serving::with([Model::echo()], with(&authority.sign("server"), client_ca)).await;
    let client = authority.sign("client");
    let stream = connect(&serving, authority.client(Some(&client), &[b"h2"])).await.unwrap();
    assert!(answers(stream).await);
    for identity in [None, Some(&stranger.sign("client"))] {
        // A refusal may come after the client's side of the handshake, with the first that is read.
        let refused = match connect(&serving, authority.client(identity, &[b"h2"])).await {
            Ok(stream) => !answers(stream).await,
            Err(_) => true,
        };
        assert!(refused, "{}", identity.is_some());
    }
    assert_eq!(serving.finish().await.accepted, 1);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_one_line_that_names_them() {
    let authority = Authority::new();
    let (server, other) = (authority.sign("server"), authority.sign("other"));
    let empty = authority.folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = authority.folder.path().join("missing.pem");
    let signed = |cert: &Path, key: &Path| Signed { cert: cert.to_owned(), key: key.to_owned() };
    for (files, client_ca, named) in [
        (signed(&server.cert, &other.key), None, vec![&server.cert, &other.key]),
        (signed(&missing, &server.key), None, vec![&missing]),
        (signed(&server.cert, &missing), None, vec![&missing]),
        (signed(&empty, &server.key), None, vec![&empty]),
        (signed(&server.cert, &empty), None, vec![&empty]),
        (signed(&server.cert, &server.key), Some(empty.clone()), vec![&empty]),
    ] {
        let started = Serving::start([Model::echo()], with(&files, client_ca)).await;
        let line = started.err().expect("it started").to_string();
        assert!(line.starts_with("tls: ") && !line.contains('\n'), "{line:?}");
        assert!(named.iter().all(|file| line.contains(file.to_str().unwrap())), "{line:?}");
    }
}
