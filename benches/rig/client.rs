//! The client on bare HTTP/2: a call's head and message are made once, and of an answer nothing is kept but how it
//! ended, unless somebody wants it. Whoever loads a server shares a machine with it, so what the client costs is what
//! the server does not get.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use tokio::net::TcpStream;
use tonic::Status;

use super::{CONNECTION_WINDOW, MAX_FRAME, WINDOW};

/// What gRPC puts before each message: whether it is compressed, and its length.
pub const PREFIX: usize = 5;

/// A call that is made again and again: its head, and its message with the prefix.
#[derive(Clone)]
pub struct Prepared {
    head: Request<()>,
    framed: Bytes,
}

impl Prepared {
    pub fn new(authority: &str, path: &PathAndQuery, message: &[u8]) -> Prepared {
        let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path.clone());
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = uri.build().expect("an address");
        let headers = head.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        Prepared { head, framed: framed(message) }
    }

    pub fn within(mut self, deadline: Duration) -> Prepared {
        let micros = format!("{}u", deadline.as_micros().min(99_999_999));
        self.head.headers_mut().insert("grpc-timeout", micros.try_into().expect("a number"));
        self
    }
}

/// A message with its prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

/// A connection. Its task ends with the runtime, or with the server.
pub struct Connection {
    requests: SendRequest<Bytes>,
}

impl Connection {
    pub async fn open(address: &str) -> Connection {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME);
        let (requests, connection) = builder.handshake(stream).await.expect("HTTP/2");
        tokio::spawn(async move {
            // Calls tell what became of it.
            let _ = connection.await;
        });
        Connection { requests }
    }

    /// Calls once. The answer's message where it is to be kept, otherwise nothing.
    pub async fn call(&self, call: &Prepared, keep: bool) -> Result<Bytes, Status> {
        let (response, mut body) = self.requests.clone().send_request(call.head.clone(), false).map_err(lost)?;
        body.send_data(call.framed.clone(), true).map_err(lost)?;
        let (head, mut body) = response.await.map_err(lost)?.into_parts();
        let mut message = BytesMut::new();
        while let Some(frame) = body.data().await {
            let frame = frame.map_err(lost)?;
            let _ = body.flow_control().release_capacity(frame.len());
            if keep {
                message.extend_from_slice(&frame);
            }
        }
        let trailers = body.trailers().await.map_err(lost)?;
        ended(trailers.as_ref().unwrap_or(&head.headers))?;
        Ok(message.freeze().split_off(if keep { PREFIX } else { 0 }))
    }
}

fn ended(trailers: &HeaderMap) -> Result<(), Status> {
    match trailers.get("grpc-status") {
        Some(code) if code == "0" => Ok(()),
        Some(_) => Err(Status::from_header_map(trailers).expect("it has a code")),
        None => Err(Status::unknown("the answer has no grpc-status")),
    }
}

fn lost(error: h2::Error) -> Status {
    Status::unavailable(error.to_string())
}
