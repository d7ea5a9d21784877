//! Questions that are no calls, by generated clients, over the same connections.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::{Endpoint, Failed};
use crate::tensor::Rope;
use crate::wire::{GRPC, PREFIX, trace};

/// A channel for generated clients, to one endpoint. It is always ready: a question to an endpoint that is not
/// connected fails at once.
#[derive(Clone)]
pub struct Asking {
    endpoint: Arc<Endpoint>,
    headers: HeaderMap,
}

impl Asking {
    /// Questions to `endpoint`, with these headers.
    pub fn of(endpoint: Arc<Endpoint>, headers: HeaderMap) -> Asking {
        Asking { endpoint, headers }
    }

    /// Questions that nobody but this process has asked for, and that come again and again: no trace is to be recorded.
    pub fn unasked(endpoint: Arc<Endpoint>) -> Asking {
        let mut headers = HeaderMap::new();
        trace::write_unrecorded(&mut headers);
        Asking { endpoint, headers }
    }
}

impl Service<Request<Body>> for Asking {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Asking { endpoint, headers } = self.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            head.headers.extend(headers);
            let path = head.uri.path_and_query().cloned().ok_or_else(|| Status::internal("a question has a path"))?;
            let message: Rope = body.collect().await?.to_bytes().into();
            let reply = endpoint.call(&path, &head.headers, &message).await;
            let reply = reply.map_err(|Failed { error, .. }| Status::from(error))?;
            Ok(response(reply.message, reply.trailers))
        })
    }
}

/// The answer in the form that clients read.
fn response(message: Option<Bytes>, trailers: HeaderMap) -> Response<Body> {
    let Some(message) = message else {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = trailers;
        return response;
    };
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(0);
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    let body = Full::new(Bytes::from(framed)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}
