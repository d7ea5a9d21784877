//! The admin port: plain HTTP for probes and metrics. It answers while the process drains, so that its state can be seen.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::phase::{Phase, Phases};
use crate::observe::{MEDIA_TYPE, Metrics};

/// Connections at one time: probes and people, no more.
const MAX_CONNECTIONS: usize = 64;

/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The bound admin port.
#[derive(Debug)]
pub struct Admin {
    tcp: TcpListener,
}

impl Admin {
    /// Binds `address`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(address: SocketAddr) -> io::Result<Admin> {
        Ok(Admin { tcp: TcpListener::bind(address).await? })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until it is dropped.
    pub async fn serve(self, phases: Phases, metrics: Arc<Metrics>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => _ = connections.spawn(connection(stream, phases.clone(), metrics.clone())),
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn connection(stream: TcpStream, phases: Phases, metrics: Arc<Metrics>) {
    let service = service_fn(|request| {
        let response = answer(&request, phases.now(), &metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // A peer that breaks off is no event here.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, phase: Phase, metrics: &Metrics) -> Response<Full<Bytes>> {
    if request.uri().path() == "/metrics" {
        let mut response = Response::new(Full::from(metrics.text()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        return response;
    }
    let (status, text) = match request.uri().path() {
        "/livez" => (StatusCode::OK, "live\n"),
        "/readyz" => match phase {
            Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "not ready: models are loading\n"),
            Phase::Serving => (StatusCode::OK, "ready\n"),
            Phase::Announcing | Phase::Leaving | Phase::Cut => {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready: the server is stopping\n")
            }
        },
        _ => (StatusCode::NOT_FOUND, "here are /livez, /readyz and /metrics\n"),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
