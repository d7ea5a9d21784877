//! HTTP/2 by hand: requests that no gRPC library would send, and answers as they stand on the wire.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::wait::within;

/// ModelInfer.
pub const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
/// ModelStreamInfer.
pub const STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
/// Predict.
pub const PREDICT: &str = "/tensorflow.serving.PredictionService/Predict";

/// A connection. Dropping it cuts the connection.
pub struct Raw {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A request whose answer is not there yet.
pub struct Pending {
    body: SendStream<Bytes>,
    response: ResponseFuture,
}

/// An answer to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Raw {
        Raw::over(within(TcpStream::connect(address)).await.unwrap()).await.unwrap()
    }

    /// A connection over any stream.
    ///
    /// # Errors
    /// Where the stream has ended already.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Raw, h2::Error> {
        let mut builder = Builder::new();
        builder.initial_window_size(1 << 24).initial_connection_window_size(1 << 24);
        let (requests, connection) = within(builder.handshake(stream)).await?;
        Ok(Raw { requests, connection: tokio::spawn(connection) })
    }

    /// Begins a call with these headers beside gRPC's own.
    ///
    /// # Errors
    /// What the connection says, as after a GOAWAY.
    pub async fn begin(&self, path: &str, headers: &[(&str, &str)]) -> Result<Pending, h2::Error> {
        let mut request = Request::post(format!("http://test{path}"));
        let own = [("content-type", "application/grpc"), ("te", "trailers")];
        for (name, value) in own.iter().filter(|(own, _)| headers.iter().all(|(name, _)| name != own)).chain(headers) {
            request = request.header(*name, *value);
        }
        self.send(request.body(()).unwrap(), false).await
    }

    /// Sends the head of any request.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn send(&self, request: Request<()>, end: bool) -> Result<Pending, h2::Error> {
        let mut requests = within(self.requests.clone().ready()).await?;
        let (response, body) = requests.send_request(request, end)?;
        Ok(Pending { body, response })
    }

    /// A call with this body to its end.
    pub async fn call(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut pending = self.begin(path, headers).await.unwrap();
        pending.put(body, true);
        pending.answer().await.unwrap()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Pending {
    /// Sends some of the body. What does not fit the peer's window waits inside of HTTP/2.
    pub fn put(&mut self, body: impl Into<Bytes>, end: bool) {
        // Where the stream is closed its answer says so better.
        let _ = self.body.send_data(body.into(), end);
    }

    /// Leaves.
    pub fn reset(mut self) {
        self.body.send_reset(Reason::CANCEL);
    }

    /// The answer to its end.
    ///
    /// # Errors
    /// Where the stream or its connection ends otherwise.
    #[track_caller]
    pub fn answer(self) -> impl Future<Output = Result<Answer, h2::Error>> {
        within(self.read())
    }

    async fn read(self) -> Result<Answer, h2::Error> {
        // A body that the server did not want may still be on its way; it is not awaited.
        let _body = self.body;
        let (head, mut incoming) = self.response.await?.into_parts();
        let mut body = BytesMut::new();
        while let Some(part) = incoming.data().await {
            let part = part?;
            incoming.flow_control().release_capacity(part.len())?;
            body.extend_from_slice(&part);
        }
        let trailers = incoming.trailers().await?.unwrap_or_default();
        Ok(Answer { status: head.status, headers: head.headers, body: body.freeze(), trailers })
    }
}

impl Answer {
    /// How the call ended.
    pub fn grpc(&self) -> Status {
        let status = Status::from_header_map(&self.trailers).or_else(|| Status::from_header_map(&self.headers));
        status.unwrap_or_else(|| panic!("an answer without a status: {self:?}"))
    }

    pub fn code(&self) -> Code {
        self.grpc().code()
    }

    pub fn message(&self) -> String {
        self.grpc().message().to_owned()
    }

    /// A header's or a trailer's text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).or_else(|| self.headers.get(name)).map(|value| value.to_str().unwrap())
    }
}
