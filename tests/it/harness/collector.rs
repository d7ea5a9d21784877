//! A collector of OTLP on a port of this machine, by gRPC or HTTP: it keeps the spans and metrics that come, and can stall.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
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
use super::wait::eventually;

/// A span as it came, and the service that sent it.
#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    pub inner: v1::Span,
}

impl Span {
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub fn kind(&self) -> v1::span::SpanKind {
        self.inner.kind()
    }

    pub fn id(&self) -> &[u8] {
        &self.inner.span_id
    }

    pub fn trace(&self) -> String {
        hex(&self.inner.trace_id)
    }

    pub fn nanos(&self) -> u64 {
        self.inner.end_time_unix_nano - self.inner.start_time_unix_nano
    }

    /// An attribute as text; none where there is none.
    pub fn get(&self, name: &str) -> Option<String> {
        found(&self.inner.attributes, name)
    }

    /// An attribute of numbers.
    pub fn number(&self, name: &str) -> f64 {
        self.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).parse().unwrap()
    }

    /// The ids of the spans that it is linked to.
    pub fn links(&self) -> Vec<Vec<u8>> {
        self.inner.links.iter().map(|link| link.span_id.clone()).collect()
    }

    pub fn failed(&self) -> bool {
        self.inner.status.as_ref().is_some_and(|status| status.code() == v1::status::StatusCode::Error)
    }
}

fn found(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?;
    Some(match value {
        AnyValue { value: Some(Value::StringValue(text)) } => text,
        AnyValue { value: Some(Value::IntValue(number)) } => number.to_string(),
        AnyValue { value: Some(Value::DoubleValue(number)) } => number.to_string(),
        AnyValue { value: Some(Value::BoolValue(truth)) } => truth.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A collector. Dropped it is gone.
pub struct Collector {
    scheme: &'static str,
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    pushes: Arc<Mutex<Vec<Pushed>>>,
    stalls: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Taking {
    spans: Arc<Mutex<Vec<Span>>>,
    pushes: Arc<Mutex<Vec<Pushed>>>,
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
        let (spans, pushes) = (Arc::<Mutex<Vec<Span>>>::default(), Arc::<Mutex<Vec<Pushed>>>::default());
        let stalls = watch::Sender::new(false);
        let taking = Taking { spans: spans.clone(), pushes: pushes.clone(), stalls: stalls.subscribe() };
        let task = tokio::spawn(serve(listener, taking));
        Collector { scheme: "http", address, spans, pushes, stalls, task }
    }

    /// Its address as exporters want it.
    pub fn endpoint(&self) -> Option<String> {
        Some(format!("{}://{}", self.scheme, self.address))
    }

    /// Takes what comes, and does not answer.
    pub fn stall(&self) {
        self.stalls.send_replace(true);
    }

    /// What has come so far.
    pub fn spans(&self) -> Spans {
        Spans(self.spans.lock().unwrap().clone())
    }

    /// The metrics that have come so far, push by push as far as each is one message.
    pub fn pushes(&self) -> Vec<Pushed> {
        self.pushes.lock().unwrap().clone()
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
    async fn take(&self, request: ExportTraceServiceRequest) {
        let _ = self.stalls.clone().wait_for(|stalls| !stalls).await;
        for group in request.resource_spans {
            let resource = group.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = found(&resource, "service.name").expect("a service has a name");
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let span = |inner| Span { service: service.clone(), inner };
            self.spans.lock().unwrap().extend(spans.map(span));
        }
    }

    async fn take_metrics(&self, request: ExportMetricsServiceRequest) {
        let _ = self.stalls.clone().wait_for(|stalls| !stalls).await;
        let pushed = request.resource_metrics.into_iter().map(Pushed::of);
        self.pushes.lock().unwrap().extend(pushed);
    }
}

#[tonic::async_trait]
impl MetricsService for Taking {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take_metrics(request.into_inner()).await;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(request.into_inner()).await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Requests over one connection, as far as exporters make them.
async fn over_http(mut stream: impl AsyncRead + AsyncWrite + Unpin, taking: Taking) {
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8(read[..head].to_vec()).unwrap().to_ascii_lowercase();
        let path = text.strip_prefix("post ").and_then(|rest| rest.split(' ').next()).unwrap();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let whole = head + length.trim().parse::<usize>().unwrap();
        while read.len() < whole {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0);
        }
        let body = &read[head..whole];
        match path {
            "/v1/traces" => taking.take(ExportTraceServiceRequest::decode(body).unwrap()).await,
            "/v1/metrics" => taking.take_metrics(ExportMetricsServiceRequest::decode(body).unwrap()).await,
            other => panic!("{other}"),
        }
        read.drain(..whole);
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// Spans that came.
#[derive(Debug)]
pub struct Spans(pub Vec<Span>);

impl Spans {
    /// Those of a kind.
    pub fn of(&self, kind: v1::span::SpanKind) -> Vec<&Span> {
        self.0.iter().filter(|span| span.kind() == kind).collect()
    }

    /// Those of a name.
    pub fn named(&self, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| span.name() == name).collect()
    }

    /// The only one of a name.
    pub fn one(&self, name: &str) -> &Span {
        let named = self.named(name);
        assert_eq!(named.len(), 1, "{name} in {self:#?}");
        named[0]
    }

    /// What is right beneath a span.
    pub fn beneath(&self, parent: &Span) -> Vec<&Span> {
        let is_beneath = |span: &&Span| {
            span.inner.parent_span_id == parent.inner.span_id && span.inner.trace_id == parent.inner.trace_id
        };
        self.0.iter().filter(is_beneath).collect()
    }

    /// The names of those, sorted.
    pub fn names_beneath(&self, parent: &Span) -> Vec<&str> {
        let mut names: Vec<&str> = self.beneath(parent).iter().map(|span| span.name()).collect();
        names.sort_unstable();
        names
    }

    /// Those that begin a trace.
    pub fn roots(&self) -> Vec<&Span> {
        self.0.iter().filter(|span| span.inner.parent_span_id.is_empty()).collect()
    }
}
