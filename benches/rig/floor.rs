//! Bare tonic: a server that hands each message's bytes, not even decoded, to a function.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};

use super::load::{CONNECTION_WINDOW, Raw, WINDOW};

pub type Answering = Pin<Box<dyn Future<Output = Bytes> + Send>>;

/// A service of one method that answers every message by a function.
#[derive(Clone)]
pub struct Floor(Arc<dyn Fn(Bytes) -> Answering + Send + Sync>);

impl Floor {
    pub fn of(answer: impl Fn(Bytes) -> Answering + Send + Sync + 'static) -> Floor {
        Floor(Arc::new(answer))
    }

    /// Gives each message back.
    pub fn echo() -> Floor {
        Floor::of(|message| Box::pin(std::future::ready(message)))
    }

    /// Serves until the process is killed.
    pub async fn serve(self) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("listening grpc={}", listener.local_addr().expect("its address"));
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tonic::transport::Server::builder()
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(1 << 20)
            .add_service(self);
        server.serve_with_incoming(incoming).await.expect("it serves");
    }
}

impl NamedService for Floor {
    const NAME: &'static str = "floor.Floor";
}

impl tower::Service<http::Request<Body>> for Floor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let floor = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).max_decoding_message_size(64 << 20).unary(floor, request).await) })
    }
}

impl UnaryService<Bytes> for Floor {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Bytes>, tonic::Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let answer = (self.0)(request.into_inner());
        Box::pin(async move { Ok(tonic::Response::new(answer.await)) })
    }
}
