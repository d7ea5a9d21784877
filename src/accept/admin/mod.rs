//! The admin port: plain HTTP for probes, metrics, what a process tells of itself, and what may be changed while it runs.
//! It answers while the process drains, so that its state can be seen.

mod answers;
#[cfg(target_os = "linux")]
mod flame;
mod form;
mod log;
mod page;
mod profile;
mod ready;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::control::{Directory, Readiness};
use crate::observe::Metrics;
use answers::Answers;
pub use page::{Concerns, Form, Page, Settings, Shown};

/// Connections at one time: probes and people, no more.
const MAX_CONNECTIONS: usize = 64;

/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The bound admin port.
pub struct Admin {
    tcp: TcpListener,
    shown: Shown,
}

impl Admin {
    /// Binds `address`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(address: SocketAddr, shown: Shown) -> io::Result<Admin> {
        Ok(Admin { tcp: TcpListener::bind(address).await?, shown })
    }

    /// Tells `page` at `path` too, which begins with a slash; `about` is for the index.
    pub fn with(mut self, path: &'static str, about: &'static str, page: Page) -> Admin {
        self.shown.pages.push((path, about, page));
        self
    }

    /// Tells these settings as those in force.
    pub fn with_settings(mut self, settings: Settings) -> Admin {
        self.shown.settings = Some(settings);
        self
    }

    /// Names these where it is asked what is wrong.
    pub fn concerned(mut self, concerns: Concerns) -> Admin {
        self.shown.concerns.push(concerns);
        self
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until it is dropped.
    pub async fn serve<D: Directory>(self, readiness: Readiness<D>, metrics: Arc<Metrics>) {
        let answers = Arc::new(Answers { readiness, metrics, shown: self.shown });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, peer)) => _ = connections.spawn(connection(stream, is_here(peer), answers.clone())),
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Whether somebody calls from this machine.
fn is_here(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

async fn connection<D: Directory>(stream: TcpStream, is_here: bool, answers: Arc<Answers<D>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answers.to(request, is_here).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // A peer that breaks off is no event here.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}
