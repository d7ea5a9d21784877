//! The exporter: messages of OTLP by gRPC or HTTP, tried again as the protocol asks.

use std::array;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Iter, iter};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{sleep, timeout};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};
use tower::ServiceExt;

use super::{Export, Protocol, Sent, Signal, Taken, again};
use crate::pem;

const OURSELVES: &str = concat!("infergate/", env!("CARGO_PKG_VERSION"));

/// Bytes before a message of gRPC, and those of an answer that are read.
const PREFIX: usize = 5;
const MOST_ANSWER: usize = 64 * 1024;

/// How often a message is sent again that a collector may take later, and how long that is waited with at first.
const RETRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// Where messages go, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Its address; by HTTP with its path.
    pub endpoint: String,
    /// The authorities that its certificate must come from, a PEM file; without one, those of the system.
    pub ca: Option<PathBuf>,
    /// How messages are sent.
    pub protocol: Protocol,
    /// What is said with each message.
    pub headers: HeaderMap,
    /// How long it may take until a message is taken, however often it is sent.
    pub timeout: Duration,
    /// Whether messages are compressed.
    pub is_gzipped: bool,
    /// What is told of this process.
    pub resource: Vec<(String, String)>,
}

impl Collector {
    /// At this address, of which nothing else is said.
    pub fn at(endpoint: impl Into<String>, protocol: Protocol) -> Collector {
        Collector {
            endpoint: endpoint.into(),
            ca: None,
            protocol,
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(10),
            is_gzipped: false,
            resource: Vec::new(),
        }
    }
}

/// A collector that connects when there is something to send.
pub(in crate::observe) struct Exporter {
    to: To,
    headers: HeaderMap,
    timeout: Duration,
}

enum To {
    Grpc { channel: Channel, uri: Uri, is_gzipped: bool },
    Http { client: Box<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>, uri: Uri, is_gzipped: bool },
}

/// Why a message was not taken.
struct Refused {
    why: String,
    /// Whether it may be later.
    is_passing: bool,
    /// When the collector wants to be asked again, where it says so.
    wait: Option<Duration>,
}

impl Refused {
    /// There was no answer.
    fn lost(error: &(dyn std::error::Error + 'static)) -> Refused {
        Refused { why: chain(error), is_passing: true, wait: None }
    }
}

impl Exporter {
    /// An exporter of that signal to there. Runs on the runtime that it is called in.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub(in crate::observe) fn to(collector: &Collector, signal: Signal) -> Result<Exporter, String> {
        let uri: Uri = collector.endpoint.parse().map_err(|error| format!("{error}"))?;
        let is_gzipped = collector.is_gzipped;
        let to = match collector.protocol {
            Protocol::Grpc => {
                let method = signal.method().parse().expect("a path");
                To::Grpc { channel: channel(&uri, collector)?, uri: method, is_gzipped }
            }
            Protocol::Http if !matches!(uri.scheme_str(), Some("http" | "https")) => {
                let what = "by \"http/protobuf\" only addresses are served that begin with http:// or https://";
                return Err(what.to_owned());
            }
            Protocol::Http => {
                let connector = HttpsConnectorBuilder::new().with_tls_config(client_config(&uri, collector)?);
                let connector = connector.https_or_http().enable_http1().wrap_connector(undelayed());
                To::Http { client: Box::new(Client::builder(TokioExecutor::new()).build(connector)), uri, is_gzipped }
            }
        };
        Ok(Exporter { to, headers: collector.headers.clone(), timeout: collector.timeout })
    }

    async fn send(&self, message: Bytes) -> Result<Taken, Refused> {
        match &self.to {
            To::Grpc { channel, uri, is_gzipped } => {
                let body = tonic::body::Body::new(framed(message, *is_gzipped));
                let mut request = self.request(uri, body, "application/grpc");
                request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
                if *is_gzipped {
                    request.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
                }
                let answer = channel.clone().oneshot(request).await.map_err(|error| Refused::lost(&error))?;
                grpc_status(answer).await
            }
            To::Http { client, uri, is_gzipped } => {
                let body = if *is_gzipped { gzipped(&message) } else { message };
                let mut request = self.request(uri, Full::new(body), "application/x-protobuf");
                if *is_gzipped {
                    request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(OURSELVES));
                let answer = client.request(request).await.map_err(|error| Refused::lost(&error))?;
                http_status(answer).await
            }
        }
    }

    fn request<B>(&self, uri: &Uri, body: B, content: &'static str) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
        request
    }
}

impl Export for Exporter {
    async fn export(&self, message: Bytes) -> Sent {
        let (mut retries, mut last) = (0, None);
        let sending = async {
            loop {
                match self.send(message.clone()).await {
                    Err(refused) if refused.is_passing && retries < RETRIES => {
                        let pause = (PAUSE * 2u32.pow(retries)).max(refused.wait.unwrap_or_default());
                        last = Some(refused.why);
                        sleep(pause).await;
                        retries += 1;
                    }
                    result => return result.map_err(|refused| refused.why),
                }
            }
        };
        let taken = timeout(self.timeout, sending).await;
        let taken = taken.unwrap_or_else(|_| Err(last.unwrap_or_else(|| "it did not answer in time".to_owned())));
        Sent { retries, taken }
    }
}

/// To a collector that speaks gRPC. Not tonic's client above it, which copies each message.
fn channel(uri: &Uri, collector: &Collector) -> Result<Channel, String> {
    let wrong = |error: tonic::transport::Error| chain(&error);
    let mut endpoint = Endpoint::from(uri.clone()).user_agent(OURSELVES).map_err(wrong)?;
    if uri.scheme_str() != Some("http") {
        endpoint = endpoint.tls_config(tls(collector)?).map_err(wrong)?;
    }
    Ok(endpoint.connect_lazy())
}

fn tls(collector: &Collector) -> Result<ClientTlsConfig, String> {
    let tls = ClientTlsConfig::new();
    match &collector.ca {
        None => Ok(tls.with_enabled_roots()),
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(tls.ca_certificate(Certificate::from_pem(pem)))
        }
    }
}

/// The same for one that speaks HTTP. The system's authorities are asked for only where they are needed: an image may have
/// none.
/// Connects without Nagle's delay: the end of each message would wait for an acknowledgement, 40 ms where that is delayed too.
fn undelayed() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector
}

fn client_config(uri: &Uri, collector: &Collector) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &collector.ca {
        _ if uri.scheme_str() == Some("http") => builder.with_root_certificates(RootCertStore::empty()),
        Some(path) => builder.with_root_certificates(pem::authorities(path)?),
        None => builder.with_native_roots().map_err(|error| format!("the system's authorities: {error}"))?,
    };
    Ok(builder.with_no_client_auth())
}

/// A message of gRPC: its prefix, then its bytes.
type Framed = StreamBody<Iter<array::IntoIter<Result<Frame<Bytes>, Infallible>, 2>>>;

fn framed(message: Bytes, is_gzipped: bool) -> Framed {
    let message = if is_gzipped { gzipped(&message) } else { message };
    let mut prefix = [u8::from(is_gzipped), 0, 0, 0, 0];
    prefix[1..].copy_from_slice(&(message.len() as u32).to_be_bytes());
    let frames = [Bytes::copy_from_slice(&prefix), message].map(|part| Ok(Frame::data(part)));
    StreamBody::new(iter(frames))
}

/// An `ExportTraceServiceResponse`, or one of metrics, which is the same.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, tag = "1")]
    partly: Option<Partly>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Partly {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    why: String,
}

/// What an answer says that cannot be read is nothing: the message was taken.
fn read(answer: &[u8]) -> Taken {
    let Partly { rejected, why } = Answer::decode(answer).ok().and_then(|answer| answer.partly).unwrap_or_default();
    Taken { rejected: rejected.try_into().unwrap_or_default(), why }
}

async fn grpc_status(answer: http::Response<tonic::body::Body>) -> Result<Taken, Refused> {
    let (head, body) = answer.into_parts();
    let limited = Limited::new(body, MOST_ANSWER).collect().await;
    let body = limited.map_err(|error| Refused::lost(&*error))?;
    let status = Status::from_header_map(&head.headers)
        .or_else(|| body.trailers().and_then(Status::from_header_map))
        .unwrap_or_else(|| Status::unknown(format!("it answered {} without a status", head.status)));
    if status.code() != Code::Ok {
        return Err(Refused {
            why: format!("{:?}: {}", status.code(), status.message()),
            is_passing: is_passing(&status),
            wait: again::in_details(status.details()),
        });
    }
    Ok(body.to_bytes().get(PREFIX..).map_or_else(Taken::default, read))
}

/// Codes after which the protocol asks for another try; of a server that has too much to do only where it says when.
fn is_passing(status: &Status) -> bool {
    match status.code() {
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::OutOfRange => true,
        Code::Unavailable | Code::DataLoss => true,
        Code::ResourceExhausted => again::in_details(status.details()).is_some(),
        _ => false,
    }
}

async fn http_status(answer: http::Response<hyper::body::Incoming>) -> Result<Taken, Refused> {
    let (head, body) = answer.into_parts();
    // Read to its end also where it says nothing, so that its connection can be used again.
    let body = Limited::new(body, MOST_ANSWER).collect().await;
    if head.status.is_success() {
        return Ok(body.map_or_else(|_| Taken::default(), |body| read(&body.to_bytes())));
    }
    let is_passing = matches!(head.status.as_u16(), 429 | 502 | 503 | 504);
    Err(Refused { why: format!("it answered {}", head.status), is_passing, wait: again::in_headers(&head.headers) })
}

fn gzipped(message: &[u8]) -> Bytes {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let written = encoder.write_all(message).and_then(|()| encoder.finish());
    written.expect("memory takes what is written").into()
}

/// An error with all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
