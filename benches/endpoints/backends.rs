//! Backends that say what they serve and nothing else, at the other end of pipes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use infergate::balance::Dial;
use infergate::wire::proto::inference::repository_index_response::ModelIndex;
use infergate::wire::proto::inference::{ModelConfig, ModelConfigResponse, ModelParameter, RepositoryIndexResponse};
use prost::Message;
use tokio::io::{DuplexStream, duplex};
use tokio::runtime::Handle;

/// Bytes under way in a pipe.
const PIPE: usize = 16 << 10;

/// The number of the nature of each model.
const NATURE: u64 = 7;

/// How many models all backends serve, each in one version.
#[derive(Default)]
pub struct Served(AtomicUsize);

impl Served {
    pub fn serve(&self, models: usize) {
        self.0.store(models, SeqCst);
    }

    fn index(&self) -> Bytes {
        let entry = |number: usize| ModelIndex {
            name: name(number),
            version: "1".into(),
            state: "READY".into(),
            infergate_nature: NATURE,
            ..ModelIndex::default()
        };
        framed(&RepositoryIndexResponse { models: (0..self.0.load(SeqCst)).map(entry).collect() })
    }
}

pub fn name(number: usize) -> String {
    format!("model-of-the-fleet-{number:03}")
}

fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let len = (message.len() as u32).to_be_bytes();
    [&[0][..], &len, &message].concat().into()
}

/// Dials backends that run on `on`.
pub fn dial(served: Arc<Served>, on: Handle) -> Dial {
    Dial::through(move |_| {
        let (near, far) = duplex(PIPE);
        on.spawn(backend(far, served.clone()));
        async move { Ok::<_, io::Error>(near) }
    })
}

async fn backend(stream: DuplexStream, served: Arc<Served>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let answer = match request.uri().path() {
            "/inference.GRPCInferenceService/RepositoryIndex" => served.index(),
            _ => config(),
        };
        let head = Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
        let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"))]);
        let Ok(mut body) = respond.send_response(head, false) else { continue };
        let _ = body.send_data(answer, false).and_then(|()| body.send_trailers(trailers));
    }
}

fn config() -> Bytes {
    let said = |value: &str| ModelParameter { string_value: value.into() };
    let nature = NATURE.to_string();
    let parameters = [("pure", "true"), ("max_batch", "32"), ("nature", &*nature)];
    let parameters = parameters.map(|(key, value)| (format!("infergate.{key}"), said(value)));
    let config = ModelConfig { parameters: parameters.into(), ..Default::default() };
    framed(&ModelConfigResponse { config: Some(config) })
}
