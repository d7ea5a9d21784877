//! The body of an answer: the message's parts as they are, each a frame, then the trailers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use smallvec::SmallVec;

use super::budget::Taken;
use super::compression::{ACCEPTED, Encoding};
use super::names::{GRPC_ACCEPT_ENCODING, GRPC_ENCODING};
use crate::error::{Error, Kind};
use crate::tensor::Rope;
use crate::wire::{GRPC, status};

/// The body of a unary answer.
#[derive(Debug)]
pub struct Answer {
    parts: smallvec::IntoIter<[Bytes; 1]>,
    trailers: Option<HeaderMap>,
    /// The bytes of request and answer stay taken until the last of them was handed to the connection.
    _taken: Option<Taken>,
}

impl Answer {
    /// The response that carries `message` and ends well with `trailers`.
    pub fn ok(message: Rope, trailers: HeaderMap, encoding: Encoding, taken: Taken) -> Response<Answer> {
        let parts = message.into_parts().into_iter();
        response(Answer { parts, trailers: Some(trailers), _taken: Some(taken) }, encoding)
    }

    /// The response that carries nothing but a failure, all in its headers.
    pub fn failed(error: Error) -> Response<Answer> {
        let empty = Answer { parts: SmallVec::new().into_iter(), trailers: None, _taken: None };
        let mut response = response(empty, Encoding::Identity);
        if error.kind() == Kind::Unsupported {
            // It may be the encoding that is not served.
            response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        }
        response.headers_mut().extend(status::trailers(error));
        response
    }
}

/// The head of every answer, whose messages may be compressed by `encoding`.
pub(super) fn response<B>(body: B, encoding: Encoding) -> Response<B> {
    let mut response = Response::new(body);
    if let Some(name) = encoding.name() {
        response.headers_mut().insert(GRPC_ENCODING, HeaderValue::from_static(name));
    }
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(part) = self.parts.next() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.as_slice().is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // Known, but said nowhere: a gRPC answer has no content-length.
        SizeHint::default()
    }
}
