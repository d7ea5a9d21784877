//! Questions that are no calls, by generated clients, over the same connections.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::{Endpoint, Failed};
use crate::tensor::Rope;
use crate::wire::{GRPC, PREFIX};

/// A channel for generated clients, to one endpoint. It is always ready: a question to an endpoint that is not
/// connected fails at once.
#[derive(Clone)]
pub struct Asking(Arc<Endpoint>);

impl Asking {
    /// Questions to `endpoint`.
    pub fn of(endpoint: Arc<Endpoint>) -> Asking {
        Asking(endpoint)
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
        let endpoint = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let path = head.uri.path_and_query().cloned().ok_or_else(|| Status::internal("a question has a path"))?;
            let message: Rope = body.collect().await?.to_bytes().into();
            let reply = endpoint.call(&path, &head.headers, &message).await;
            let reply = reply.map_err(|Failed { error, .. }| Status::from(error))?;
            Ok(response(reply.message, reply.trailers))
        })
    }
}

/// The answer in the form that clients read.
fn response(message: Option<Bytes>, trailers: http::HeaderMap) -> Response<Body> {
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
