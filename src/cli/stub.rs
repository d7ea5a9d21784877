//! For tests: a server that answers each method with what it was told to, and keeps the headers it was sent.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpListener;

/// The server before it runs. Methods that it was not told about are UNIMPLEMENTED.
#[derive(Debug, Clone, Default)]
pub struct Stub {
    answers: Vec<(&'static str, Bytes)>,
    refusals: Vec<(&'static str, u32, &'static str)>,
    trailers: HeaderMap,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Stub {
    /// Answers `method` with `message`.
    pub fn answering(mut self, method: &'static str, message: &impl Message) -> Stub {
        self.answers.push((method, message.encode_to_vec().into()));
        self
    }

    /// Refuses `method` with a code and a message that needs no escaping.
    pub fn refusing(mut self, method: &'static str, code: u32, message: &'static str) -> Stub {
        self.refusals.push((method, code, message));
        self
    }

    /// Sends a trailer with each answer.
    pub fn with_trailer(mut self, name: &'static str, value: &'static str) -> Stub {
        self.trailers.insert(name, value.parse().unwrap());
        self
    }

    /// The headers of the calls so far.
    pub fn seen(&self) -> Vec<HeaderMap> {
        self.seen.lock().unwrap().clone()
    }

    /// Listens, and serves every connection until the test is over. Gives the address.
    pub async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stub = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stub = stub.clone();
                let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(stub.answer(&request))));
                let builder = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        address
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        self.seen.lock().unwrap().push(request.headers().clone());
        let method = request.uri().path().rsplit('/').next().unwrap_or("");
        let response = Response::builder().header("content-type", "application/grpc");
        if let Some((_, message)) = self.answers.iter().find(|(known, _)| *known == method) {
            let mut trailers = self.trailers.clone();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let body = Full::new(framed(message)).with_trailers(std::future::ready(Some(Ok(trailers))));
            return response.body(body.boxed()).unwrap();
        }
        let refusal = self.refusals.iter().find(|(known, ..)| *known == method);
        let (code, message) = refusal.map_or((12, "unimplemented"), |(_, code, message)| (*code, *message));
        response.header("grpc-status", code).header("grpc-message", message).body(Empty::new().boxed()).unwrap()
    }
}

/// A message behind gRPC's prefix.
fn framed(message: &Bytes) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.extend_from_slice(message);
    frame.freeze()
}
