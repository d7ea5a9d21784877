//! The admin port: plain HTTP for probes, metrics and what a role tells of itself. It answers while the process drains,
//! so that its state can be seen.

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

use super::control::{Directory, Readiness};
use crate::observe::{MEDIA_TYPE, Metrics};

/// Connections at one time: probes and people, no more.
const MAX_CONNECTIONS: usize = 64;

/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Tells something of the process as JSON, at once and from what is known: it is called on a thread that may not block.
pub type Page = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// The bound admin port.
pub struct Admin {
    tcp: TcpListener,
    pages: Vec<(&'static str, Page)>,
}

impl Admin {
    /// Binds `address`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(address: SocketAddr) -> io::Result<Admin> {
        Ok(Admin { tcp: TcpListener::bind(address).await?, pages: Vec::new() })
    }

    /// Tells `page` at `path` too, which begins with a slash.
    pub fn with(mut self, path: &'static str, page: Page) -> Admin {
        self.pages.push((path, page));
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
        let answers = Arc::new(Answers { readiness, metrics, pages: self.pages });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => _ = connections.spawn(connection(stream, answers.clone())),
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn connection<D: Directory>(stream: TcpStream, answers: Arc<Answers<D>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answers.to(request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // A peer that breaks off is no event here.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// What is told at each path.
struct Answers<D: Directory> {
    readiness: Readiness<D>,
    metrics: Arc<Metrics>,
    pages: Vec<(&'static str, Page)>,
}

impl<D: Directory> Answers<D> {
    fn to(&self, path: &str) -> Response<Full<Bytes>> {
        match path {
            "/metrics" => typed(MEDIA_TYPE, self.metrics.text()),
            "/livez" => plain(StatusCode::OK, "live\n"),
            "/readyz" => match self.readiness.check() {
                Ok(()) => plain(StatusCode::OK, "ready\n"),
                Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {error}\n")),
            },
            _ => match self.pages.iter().find(|(known, _)| *known == path) {
                Some((_, page)) => typed("application/json", page().to_string()),
                None => plain(StatusCode::NOT_FOUND, self.paths()),
            },
        }
    }

    /// A sentence for those who lost their way.
    fn paths(&self) -> String {
        let pages: String = self.pages.iter().map(|(path, _)| format!(", {path}")).collect();
        format!("here are /livez, /readyz{pages} and /metrics\n")
    }
}

fn plain(status: StatusCode, text: impl Into<Full<Bytes>>) -> Response<Full<Bytes>> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response
}

fn typed(media_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http_body_util::BodyExt;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;
    use crate::accept::control::fixture::Hearsay;
    use crate::accept::phase::{Phase, Phases};

    fn readiness(directory: &Hearsay) -> Readiness<Hearsay> {
        Readiness { directory: directory.clone(), phases: Phases::default() }
    }

    fn answers(readiness: &Readiness<Hearsay>, pages: Vec<(&'static str, Page)>) -> Answers<Hearsay> {
        Answers { readiness: readiness.clone(), metrics: Arc::new(Metrics::new(Arc::default())), pages }
    }

    async fn text(response: Response<Full<Bytes>>) -> (u16, String) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_is_who_serves_and_whose_directory_is_ready() {
        let directory = Hearsay::default();
        let readiness = readiness(&directory);
        let answers = answers(&readiness, vec![]);
        let ready = async || text(answers.to("/readyz")).await;
        assert_eq!(ready().await, (503, "not ready: models are loading\n".to_owned()));
        readiness.phases.advance(Phase::Serving);
        assert_eq!(ready().await, (503, "not ready: nobody is known yet\n".to_owned()));
        directory.meet();
        assert_eq!(ready().await, (200, "ready\n".to_owned()));
        readiness.phases.advance(Phase::Announcing);
        assert_eq!(ready().await, (503, "not ready: the server is stopping\n".to_owned()));
    }

    #[tokio::test]
    async fn who_asks_for_what_is_not_there_is_told_what_is() {
        let readiness = readiness(&Hearsay::default());
        let lost = async |pages| text(answers(&readiness, pages).to("/")).await;
        assert_eq!(lost(vec![]).await, (404, "here are /livez, /readyz and /metrics\n".to_owned()));
        let page: Page = Arc::new(|| json!([]));
        let told = lost(vec![("/endpoints", page)]).await;
        assert_eq!(told, (404, "here are /livez, /readyz, /endpoints and /metrics\n".to_owned()));
    }

    #[tokio::test]
    async fn a_page_is_told_as_it_is_when_it_is_asked_for() {
        let directory = Hearsay::default();
        let told = directory.clone();
        let page: Page = Arc::new(move || json!({ "known": told.ready().is_ok() }));
        let admin = Admin::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap().with("/endpoints", page);
        let address = admin.address().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(admin.serve(readiness(&directory), Arc::new(Metrics::new(Arc::default()))));
        directory.meet();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /endpoints HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n{\"known\":true}"), "{answer}");
    }
}
