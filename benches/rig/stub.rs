//! The worker behind whatever is measured: answers each call with its own tensor, at as little cost as HTTP/2 allows.
//! An answer is made when the first call of its size comes; later ones are counted and not kept.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{HeaderMap, HeaderValue, Request, Response};
use infergate::wire::proto::inference::model_infer_response::InferOutputTensor;
use infergate::wire::proto::inference::repository_index_response::ModelIndex;
use infergate::wire::proto::inference::{ModelInferRequest, ModelInferResponse, RepositoryIndexResponse};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};

use super::client::{PREFIX, framed};
use super::{CONNECTION_WINDOW, MAX_FRAME, WINDOW};

/// Calls of one connection that may be under way: one for each caller that there is.
const STREAMS: u32 = 1024;

/// What all connections share.
struct Stub {
    /// By the length of the call's message.
    answers: Mutex<HashMap<usize, Bytes>>,
    /// What it serves, as it says.
    index: Bytes,
    head: Response<()>,
    trailers: HeaderMap,
}

/// Serves `models` at a free port of `host` until the process is killed.
pub async fn serve(host: &str, models: impl Iterator<Item = String>) {
    let listener = TcpListener::bind((host, 0)).await.expect("a port");
    println!("listening grpc={}", listener.local_addr().expect("its address"));
    let head = Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
    let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"))]);
    let stub = Stub { answers: Mutex::default(), index: index(models), head, trailers };
    let stub: &'static Stub = Box::leak(Box::new(stub));
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, stub));
    }
}

/// How a connection ends is its client's doing, and told there.
async fn connection(stream: TcpStream, stub: &'static Stub) {
    let _ = stream.set_nodelay(true);
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(STREAMS);
    let Ok(mut connection) = builder.handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(async move {
            let _ = stub.call(request, respond).await;
        });
    }
}

impl Stub {
    async fn call(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
        let (head, body) = request.into_parts();
        let answer = match head.uri.path() {
            "/inference.GRPCInferenceService/ModelInfer" => self.answer(body).await?,
            "/inference.GRPCInferenceService/RepositoryIndex" => self.index.clone(),
            _ => {
                let head = Response::builder().header("content-type", "application/grpc").header("grpc-status", 12);
                respond.send_response(head.body(()).expect("a head"), true)?;
                return Ok(());
            }
        };
        let mut stream = respond.send_response(self.head.clone(), false)?;
        stream.send_data(answer, false)?;
        stream.send_trailers(self.trailers.clone())
    }

    /// Reads the call, and looks at it where none of its length has come before.
    async fn answer(&self, mut body: RecvStream) -> Result<Bytes, h2::Error> {
        let (mut known, mut kept, mut len) = (None, BytesMut::new(), 0);
        while let Some(frame) = body.data().await {
            let frame = frame?;
            body.flow_control().release_capacity(frame.len())?;
            if len == 0 && frame.len() >= PREFIX {
                let told = u32::from_be_bytes(frame[1..PREFIX].try_into().expect("four bytes"));
                known = self.known(told as usize);
            }
            len += frame.len();
            if known.is_none() {
                kept.extend_from_slice(&frame);
            }
        }
        Ok(known.unwrap_or_else(|| self.made(kept.freeze())))
    }

    fn known(&self, len: usize) -> Option<Bytes> {
        self.answers.lock().expect("nobody panics").get(&len).cloned()
    }

    fn made(&self, call: Bytes) -> Bytes {
        let message = call.slice(PREFIX.min(call.len())..);
        let answer = echoed(message.clone());
        self.answers.lock().expect("nobody panics").insert(message.len(), answer.clone());
        answer
    }
}

/// The answer of a model that gives back what it gets, with its prefix.
fn echoed(call: Bytes) -> Bytes {
    let request = ModelInferRequest::decode(call).expect("a call");
    let outputs = request.inputs.into_iter().map(|input| InferOutputTensor {
        name: "y".into(),
        datatype: input.datatype,
        shape: input.shape,
        ..Default::default()
    });
    let response = ModelInferResponse {
        model_name: request.model_name,
        model_version: "1".into(),
        outputs: outputs.collect(),
        raw_output_contents: request.raw_input_contents,
        ..Default::default()
    };
    framed(&response.encode_to_vec())
}

fn index(models: impl Iterator<Item = String>) -> Bytes {
    let ready = |name| ModelIndex { name, version: "1".into(), state: "READY".into(), ..Default::default() };
    framed(&RepositoryIndexResponse { models: models.map(ready).collect() }.encode_to_vec())
}
