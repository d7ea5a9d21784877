//! A collector of OTLP on a port of this machine, by gRPC or HTTP: it keeps the spans and metrics that come, can stall, and
//! answers otherwise than well where a test says so.

use std::collections::VecDeque;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::authority::Signed;
use super::pushed::Pushed;
use super::spans::{Span, Spans, found};
use super::wait::eventually;

/// A collector. Dropped it is gone.
pub struct Collector {
    scheme: &'static str,
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    stalls: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Kept {
    spans: Vec<Span>,
    pushes: Vec<Pushed>,
    /// The headers of each message.
    heads: Vec<HeaderMap>,
    replies: VecDeque<Reply>,
}

/// How a collector answers a message that it does not take, or not all of.
#[derive(Debug, Clone)]
pub enum Reply {
    /// By gRPC so.
    Grpc(Status),
    /// By HTTP with this status, and perhaps when to come back.
    Http(u16, Option<&'static str>),
    /// It has not taken so many spans, or points of metrics, for this reason.
    Partly(i64, &'static str),
}

#[derive(Clone)]
struct Taking {
    kept: Arc<Mutex<Kept>>,
    stalls: watch::Receiver<bool>,
}

impl Collector {
    /// One that speaks gRPC.
    pub async fn grpc() -> Collector {
        Collector::start(async |listener, taking| {
            let metrics = MetricsServiceServer::new(taking.clone()).accept_compressed(CompressionEncoding::Gzip);
            let traces = TraceServiceServer::new(taking).accept_compressed(CompressionEncoding::Gzip);
            let server = Server::builder().add_service(traces).add_service(metrics);
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        })
        .await
    }

    /// One that speaks gRPC within TLS, as this one who has signed for it knows.
    pub async fn encrypted(signed: &Signed) -> Collector {
        let read = |path| std::fs::read(path).unwrap();
        let identity = Identity::from_pem(read(&signed.cert), read(&signed.key));
        let tls = ServerTlsConfig::new().identity(identity);
        let mut collector = Collector::start(async move |listener, taking| {
            let server = Server::builder().tls_config(tls).unwrap().add_service(TraceServiceServer::new(taking));
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        })
        .await;
        collector.scheme = "https";
        collector
    }

    /// One that speaks HTTP within TLS, likewise.
    pub async fn encrypted_http(signed: &Signed) -> Collector {
        let acceptor = signed.acceptor();
        let mut collector = Collector::start(async move |listener, taking| {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Who does not know it does not go on.
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(over_http(stream, taking.clone()));
                }
            }
        })
        .await;
        collector.scheme = "https";
        collector
    }

    /// One that speaks HTTP.
    pub async fn http() -> Collector {
        Collector::start(async |listener, taking| {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(over_http(stream, taking.clone()));
            }
        })
        .await
    }

    async fn start<F>(serve: impl FnOnce(TcpListener, Taking) -> F + Send + 'static) -> Collector
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (kept, stalls) = (Arc::<Mutex<Kept>>::default(), watch::Sender::new(false));
        let task = tokio::spawn(serve(listener, Taking { kept: kept.clone(), stalls: stalls.subscribe() }));
        Collector { scheme: "http", address, kept, stalls, task }
    }

    /// Its address as exporters want it.
    pub fn endpoint(&self) -> Option<String> {
        Some(format!("{}://{}", self.scheme, self.address))
    }

    /// Takes what comes, and does not answer.
    pub fn stall(&self) {
        self.stalls.send_replace(true);
    }

    /// Answers the next messages so, and those after them well.
    pub fn replies(&self, replies: impl IntoIterator<Item = Reply>) {
        self.kept.lock().unwrap().replies.extend(replies);
    }

    /// The headers of each message that has come so far.
    pub fn heads(&self) -> Vec<HeaderMap> {
        self.kept.lock().unwrap().heads.clone()
    }

    /// What has come so far.
    pub fn spans(&self) -> Spans {
        Spans(self.kept.lock().unwrap().spans.clone())
    }

    /// The metrics that have come so far, push by push as far as each is one message.
    pub fn pushes(&self) -> Vec<Pushed> {
        self.kept.lock().unwrap().pushes.clone()
    }

    /// What has come once there are so many calls of servers among it.
    pub async fn calls(&self, count: usize) -> Spans {
        eventually("the calls are exported", async || self.spans().of(v1::span::SpanKind::Server).len() >= count).await;
        self.spans()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Taking {
    /// How spans are answered, where that is not well.
    async fn take(&self, head: HeaderMap, request: ExportTraceServiceRequest) -> Option<Reply> {
        let keep = |kept: &mut Kept| {
            for group in request.resource_spans {
                let resource = group.resource.map(|resource| resource.attributes).unwrap_or_default();
                let service = found(&resource, "service.name").expect("a service has a name");
                let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
                let span = |inner| Span { service: service.clone(), inner };
                kept.spans.extend(spans.map(span));
            }
        };
        self.answer(head, keep).await
    }

    /// How metrics are, likewise.
    async fn take_metrics(&self, head: HeaderMap, request: ExportMetricsServiceRequest) -> Option<Reply> {
        let pushed = request.resource_metrics.into_iter().map(Pushed::of);
        self.answer(head, |kept| kept.pushes.extend(pushed)).await
    }

    /// Keeps what has come, unless it is not to be taken.
    async fn answer(&self, head: HeaderMap, keep: impl FnOnce(&mut Kept)) -> Option<Reply> {
        let _ = self.stalls.clone().wait_for(|stalls| !stalls).await;
        let mut kept = self.kept.lock().unwrap();
        kept.heads.push(head);
        let reply = kept.replies.pop_front();
        if !matches!(reply, Some(Reply::Grpc(_) | Reply::Http(..))) {
            keep(&mut kept);
        }
        reply
    }
}

#[tonic::async_trait]
impl MetricsService for Taking {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        match self.take_metrics(metadata.into_headers(), message).await {
            Some(Reply::Grpc(status)) => Err(status),
            reply => Ok(Response::new(metrics_taken(reply))),
        }
    }
}

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        match self.take(metadata.into_headers(), message).await {
            Some(Reply::Grpc(status)) => Err(status),
            reply => Ok(Response::new(spans_taken(reply))),
        }
    }
}

impl Reply {
    /// What was not taken, of a message that was.
    fn partly(self) -> Option<(i64, String)> {
        match self {
            Reply::Partly(rejected, why) => Some((rejected, why.to_owned())),
            _ => None,
        }
    }
}

fn spans_taken(reply: Option<Reply>) -> ExportTraceServiceResponse {
    let partly = reply.and_then(Reply::partly);
    let partial_success =
        partly.map(|(rejected_spans, error_message)| ExportTracePartialSuccess { rejected_spans, error_message });
    ExportTraceServiceResponse { partial_success }
}

fn metrics_taken(reply: Option<Reply>) -> ExportMetricsServiceResponse {
    let partly = reply.and_then(Reply::partly);
    let partial_success = partly.map(|(rejected_data_points, error_message)| ExportMetricsPartialSuccess {
        rejected_data_points,
        error_message,
    });
    ExportMetricsServiceResponse { partial_success }
}

/// Requests over one connection, as far as exporters make them.
async fn over_http(mut stream: impl AsyncRead + AsyncWrite + Unpin, taking: Taking) {
    let mut read = Vec::new();
    while let Some((path, headers, message)) = request(&mut stream, &mut read).await {
        let (refused, taken) = match &*path {
            "/v1/traces" => {
                let reply = taking.take(headers, ExportTraceServiceRequest::decode(&*message).unwrap()).await;
                (reply.clone(), spans_taken(reply).encode_to_vec())
            }
            "/v1/metrics" => {
                let reply = taking.take_metrics(headers, ExportMetricsServiceRequest::decode(&*message).unwrap()).await;
                (reply.clone(), metrics_taken(reply).encode_to_vec())
            }
            other => panic!("{other}"),
        };
        let (status, wait, body) = match refused {
            Some(Reply::Http(status, wait)) => (status, wait, b"no".to_vec()),
            _ => (200, None, taken),
        };
        let wait = wait.map_or_else(String::new, |wait| format!("retry-after: {wait}\r\n"));
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/x-protobuf\r\n{wait}content-length: {length}\r\n\r\n"
        );
        // Who has left does not want to know.
        if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
            return;
        }
    }
}

/// The next one: its path, its headers and its message; none where the connection ends.
async fn request(stream: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> Option<(String, HeaderMap, Vec<u8>)> {
    let head = loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(read).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let text = String::from_utf8(read[..head].to_vec()).unwrap();
    let path = text.strip_prefix("POST ").and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    let headers: HeaderMap = text.lines().filter_map(|line| header(line.split_once(": ")?)).collect();
    let whole = head + headers["content-length"].to_str().unwrap().parse::<usize>().unwrap();
    while read.len() < whole {
        assert!(stream.read_buf(read).await.unwrap() > 0);
    }
    let request: Vec<u8> = read.drain(..whole).collect();
    Some((path, headers.clone(), unzipped(&headers, &request[head..])))
}

fn unzipped(headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let Some(encoding) = headers.get("content-encoding") else { return body.to_vec() };
    assert_eq!(encoding, "gzip");
    let mut message = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut message).unwrap();
    message
}

fn header((name, value): (&str, &str)) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
}
