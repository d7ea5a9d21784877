//! One call over one connection, and what its end means.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, SendStream};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::response::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};

use super::Failed;
use super::answer::{Assembly, Reply};
use super::connection::Owed;
use crate::balance::now;
use crate::balance::retry::Ran;
use crate::error::{Error, Kind};
use crate::wire::GRPC;

const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const OURSELVES: HeaderValue = HeaderValue::from_static(concat!("infergate/", env!("CARGO_PKG_VERSION")));

/// The head of a call.
pub(super) fn request(authority: &Authority, scheme: &Scheme, path: &PathAndQuery, headers: &HeaderMap) -> Request<()> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme.clone());
    uri.authority = Some(authority.clone());
    uri.path_and_query = Some(path.clone());
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_parts(uri).expect("it has all of its parts");
    *request.headers_mut() = headers.clone();
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(TE, TRAILERS);
    headers.insert(USER_AGENT, OURSELVES);
    request
}

/// A call whose request was handed to the connection. Dropping it cancels the call at the backend.
pub(super) struct Exchange {
    response: ResponseFuture,
    _stream: SendStream<Bytes>,
    owed: Owed,
    sent: Instant,
}

impl Exchange {
    pub(super) fn new(response: ResponseFuture, stream: SendStream<Bytes>, owed: Owed) -> Exchange {
        Exchange { response, _stream: stream, owed, sent: now() }
    }

    /// Waits for the answer, of `limit` bytes at most.
    pub(super) async fn finish(&mut self, limit: usize) -> Result<Reply, Lost> {
        let (Parts { status, headers, .. }, mut body) = (&mut self.response).await?.into_parts();
        if status != StatusCode::OK {
            return Err(Lost::by_http(status));
        }
        let mut assembly = Assembly::default();
        while let Some(frame) = body.data().await {
            let frame = frame?;
            let _ = body.flow_control().release_capacity(frame.len());
            assembly.take(frame, limit).map_err(Lost::wrong)?;
        }
        let trailers = body.trailers().await?;
        self.owed.settled();
        let message = assembly.finish().map_err(Lost::wrong)?;
        let (trailers, connected) = (trailers.unwrap_or(headers), self.owed.since());
        Ok(Reply { message, trailers, connected, sent: self.sent })
    }
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost {
    why: String,
    kind: Kind,
    ran: Ran,
    turned_away: bool,
}

impl Lost {
    /// Whether the connection was on its way out and the backend will not look at the call: it can go over another.
    pub(super) fn was_turned_away(&self) -> bool {
        self.turned_away
    }

    /// Nothing was sent.
    pub(super) fn never(error: &impl fmt::Display) -> Lost {
        Lost { why: error.to_string(), kind: Kind::BackendLost, ran: Ran::Never, turned_away: true }
    }

    /// A proxy in between answered (gRPC's mapping of HTTP statuses, as far as it says that another time may be better).
    fn by_http(status: StatusCode) -> Lost {
        let lost = Lost::wrong(format!("it answered with HTTP status {}", status.as_u16()));
        match status.as_u16() {
            429 | 502..=504 => Lost { kind: Kind::BackendLost, ..lost },
            _ => lost,
        }
    }

    fn wrong(why: String) -> Lost {
        Lost { why, kind: Kind::Engine, ran: Ran::Maybe, turned_away: false }
    }

    pub(super) fn of(self, backend: &str) -> Failed {
        let message = format!("backend {backend} was lost with the call: {}", self.why);
        let message = if self.kind == Kind::Engine { format!("backend {backend}: {}", self.why) } else { message };
        Failed { error: Error::new(self.kind, message), ran: self.ran }
    }
}

impl From<h2::Error> for Lost {
    fn from(error: h2::Error) -> Lost {
        // A stream that was refused, and one that is above the last that a backend on its way out will serve, was not
        // looked at (RFC 9113, 8.7 and 6.8). A GOAWAY with an error ends also streams that were.
        let refused = error.is_remote() && error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        let above = error.is_remote() && error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
        let ran = if refused || above { Ran::Never } else { Ran::Maybe };
        Lost { why: error.to_string(), kind: Kind::BackendLost, ran, turned_away: above }
    }
}
