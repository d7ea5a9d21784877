//! Which RPC a request is: the three that carry tensors go the way of a call, the rest to their tonic services.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tonic::server::NamedService;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use super::answer::Answer;
use super::calls::{Answering, Calls};
use super::metadata::Metadata;
use super::peer::Peer;
use super::protocol::{OpenInference, TensorFlowServing};
use super::questions::{self, Asking};
use super::stream::Answers;
use super::unserved;
use crate::error::Error;
use crate::infer::Infer;
use crate::observe::log::Within;
use crate::wire::timeout::GRPC_TIMEOUT;

type TonicService = BoxCloneSyncService<Request<Incoming>, Response<tonic::body::Body>, Infallible>;

/// Everything that is served on the calls' port.
pub struct Front<S> {
    calls: Arc<Calls<S>>,
    others: Vec<(&'static str, TonicService)>,
}

impl<S: Infer> Front<S> {
    /// A front that serves calls and nothing else yet.
    pub fn new(calls: Arc<Calls<S>>) -> Self {
        Front { calls, others: Vec::new() }
    }

    /// Serves another service too.
    pub fn with<T>(mut self, service: T) -> Self
    where
        T: Service<Request<Incoming>, Response = Response<tonic::body::Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        T::Future: Send + 'static,
    {
        self.others.push((T::NAME, BoxCloneSyncService::new(service)));
        self
    }

    /// The caller there.
    pub(super) fn peer(&self, address: SocketAddr) -> Peer {
        Peer { address, is_trusted: self.calls.tracing.trusts(address.ip()) }
    }

    /// Answers one request of `peer`, whatever it is.
    pub fn answer(self: &Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answered<S> {
        if let Some(response) = not_grpc(&request) {
            return Answered::Call { answering: Box::pin(ready(response)) };
        }
        match request.uri().path() {
            "/inference.GRPCInferenceService/ModelInfer" => {
                Answered::Call { answering: self.calls.unary::<OpenInference, _>(request, peer) }
            }
            "/tensorflow.serving.PredictionService/Predict" => {
                Answered::Call { answering: self.calls.unary::<TensorFlowServing, _>(request, peer) }
            }
            "/inference.GRPCInferenceService/ModelStreamInfer" => {
                let response = match self.calls.stream(request, peer) {
                    Ok(answers) => answers.map(|body| FrontBody::Stream { body: Box::pin(body) }),
                    Err(error) => Answer::failed(error).map(|body| FrontBody::Call { body }),
                };
                Answered::Other { answering: Box::pin(ready(response)) }
            }
            _ => {
                let front = self.clone();
                Answered::Other { answering: Box::pin(apart(async move { front.other(request, peer).await })) }
            }
        }
    }

    /// Answers what is no call, as a span of its trace.
    async fn other(&self, mut request: Request<Incoming>, peer: Peer) -> Response<FrontBody<S>> {
        let (tracing, rpc) = (&self.calls.tracing, questions::rpc(request.uri().path()));
        let carried = tracing.propagators.read(request.headers());
        let Some((question, asked)) = tracing.question(rpc, carried, peer.is_trusted, Instant::now()) else {
            return self.answer_other(request).await;
        };
        let within = question.trace.clone();
        request.extensions_mut().insert(Asking(question));
        let response = Within::new(Some(within), self.answer_other(request)).await;
        match asked {
            Some(asked) => questions::ending(response, asked).map(|body| FrontBody::Other { body }),
            None => response,
        }
    }

    async fn answer_other(&self, request: Request<Incoming>) -> Response<FrontBody<S>> {
        let failed = |error| Answer::failed(error).map(|body| FrontBody::Call { body });
        // Only the caller's own deadline: loading a model may take longer than any call.
        let deadline = match Metadata::read(request.headers(), self.calls.rules.deadlines, Instant::now()) {
            Ok(metadata) => request.headers().contains_key(GRPC_TIMEOUT).then_some(metadata.deadline),
            Err(error) => return failed(error),
        };
        let uri = request.uri().clone();
        let path = uri.path();
        let (service, method) = path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or_default();
        if let Some(sentence) = unserved::sentence(service, method) {
            return failed(Error::unsupported(sentence));
        }
        let Some((_, service)) = self.others.iter().find(|(name, _)| *name == service) else {
            return failed(unknown(path));
        };
        let answer = service.clone().oneshot(request);
        let answered = match deadline {
            Some(deadline) => timeout_at(deadline.into(), answer).await,
            None => Ok(answer.await),
        };
        match answered {
            Ok(Ok(response)) if is_unimplemented(&response) => failed(unknown(path)),
            Ok(Ok(response)) => response.map(|body| FrontBody::Other { body }),
            Ok(Err(never)) => match never {},
            Err(_) => failed(Error::late("answering")),
        }
    }
}

/// Runs `other` in a task of its own: what is no call may have much to do, as where it asks a whole fleet, and would keep
/// its connection's calls waiting.
async fn apart<T: Send + 'static>(other: impl Future<Output = T> + Send + 'static) -> T {
    // A set, because it ends its task when it is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(other);
    match tasks.join_next().await.expect("one was spawned") {
        Ok(answer) => answer,
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}

fn unknown(path: &str) -> Error {
    let shown: String = path.chars().take(120).collect();
    Error::unsupported(format!("unknown method {shown}"))
}

/// Whether a generated service does not know the method, of which it says nothing but the code.
fn is_unimplemented<B>(response: &Response<B>) -> bool {
    let headers = response.headers();
    headers.get("grpc-status").is_some_and(|status| status == "12") && !headers.contains_key("grpc-message")
}

/// A refusal for what is HTTP/2 but no gRPC.
fn not_grpc(request: &Request<Incoming>) -> Option<Response<Answer>> {
    let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    let grpc = content_type.and_then(|value| value.strip_prefix(b"application/grpc")).is_some_and(is_plain);
    if grpc && request.method() == Method::POST {
        return None;
    }
    let mut response = Answer::failed(Error::invalid("this port speaks gRPC: POST with content-type application/grpc"));
    *response.status_mut() = if grpc { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::UNSUPPORTED_MEDIA_TYPE };
    Some(response)
}

/// Whether what follows `application/grpc` leaves it gRPC, as `+proto` does and `-web` does not.
fn is_plain(rest: &[u8]) -> bool {
    matches!(rest, [] | [b'+' | b';', ..])
}

/// An answer that is being made, boxed where its kind is known: the future of a call is small, and that of other
/// requests may be large.
pub enum Answered<S> {
    /// That of a unary call.
    Call {
        /// Makes it.
        answering: Answering<Answer>,
    },
    /// Any other.
    Other {
        /// Makes it.
        answering: Answering<FrontBody<S>>,
    },
}

impl<S> Future for Answered<S> {
    type Output = Response<FrontBody<S>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Answered::Call { answering } => {
                answering.as_mut().poll(cx).map(|response| response.map(|body| FrontBody::Call { body }))
            }
            Answered::Other { answering } => answering.as_mut().poll(cx),
        }
    }
}

pin_project_lite::pin_project! {
    /// The body of any answer.
    #[project = FrontBodyProjected]
    pub enum FrontBody<S> {
        /// A unary call's.
        Call { #[pin] body: Answer },
        /// A stream's.
        Stream { #[pin] body: Pin<Box<Answers<Incoming, S>>> },
        /// That of another service.
        Other { #[pin] body: tonic::body::Body },
    }
}

impl<S: Infer> Body for FrontBody<S> {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        match self.project() {
            FrontBodyProjected::Call { body } => body.poll_frame(cx).map_err(|never| match never {}),
            FrontBodyProjected::Stream { body } => body.poll_frame(cx).map_err(|never| match never {}),
            FrontBodyProjected::Other { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            FrontBody::Call { body } => body.is_end_stream(),
            FrontBody::Stream { body } => body.is_end_stream(),
            FrontBody::Other { body } => body.is_end_stream(),
        }
    }
}
