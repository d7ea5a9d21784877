//! The way from a command to a server: address, headers, patience, and what its failures are called.

mod connection;
mod repeated;

use std::error::Error;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataKey, BinaryMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use super::failure::Failure;
use crate::config::Period;
use crate::wire::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::wire::status::code_name;
pub use repeated::Repeated;

/// A client of the Open Inference Protocol.
pub type Client = GrpcInferenceServiceClient<Channel>;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes of one answer, and of all on a connection, that may be under way before they are read.
const WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The largest message that protobuf has.
const LARGEST_MESSAGE: usize = i32::MAX as usize;

/// Which server a command asks, and how.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server to ask
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8001")]
    pub target: Target,
    /// A header to send with each call; may be given several times
    #[arg(long = "header", value_name = "KEY=VALUE")]
    pub headers: Vec<Header>,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", default_value_t = Period::seconds(60))]
    pub timeout: Period,
}

impl ServerArgs {
    /// Connects, and proves it before the first call.
    ///
    /// # Errors
    /// A failure that says what stands in the way, such as that nothing listens there.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let client = GrpcInferenceServiceClient::new(self.channel().await?);
        Ok(client.max_decoding_message_size(LARGEST_MESSAGE).max_encoding_message_size(LARGEST_MESSAGE))
    }

    /// One connection, which comes up before this returns.
    async fn channel(&self) -> Result<Channel, Failure> {
        let endpoint = Endpoint::from(self.target.uri.clone()).connect_timeout(CONNECT);
        let endpoint = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        endpoint.connect().await.map_err(|error| unreachable(&self.target, &error))
    }

    /// A call with the headers and the deadline that were asked for.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.headers.iter().for_each(|header| header.put(request.metadata_mut()));
        if let Some(timeout) = self.timeout.unless_zero() {
            request.set_timeout(timeout);
        }
        request
    }

    /// What a call that was answered by `status` is to the user.
    pub fn refused(&self, status: &Status) -> Failure {
        if code(status) == Code::DeadlineExceeded {
            return Failure::failed(format_args!(
                "no answer from {} within {}: allow more by --timeout",
                self.target, self.timeout
            ));
        }
        let code = code_name(status.code());
        match (status.source(), status.message()) {
            // A call that failed on this side of the wire.
            (Some(source), _) => {
                let cause = innermost(source);
                Failure::failed(format_args!("no answer from {}, is it a gRPC server? {cause} ({code})", self.target))
            }
            (None, "") => Failure::failed(format_args!("no reason given ({code})")),
            (None, message) => Failure::failed(format_args!("{message} ({code})")),
        }
    }
}

/// The code of a call's end. The client's own clock says CANCELLED where a server's says DEADLINE_EXCEEDED; here both
/// are the latter.
pub fn code(status: &Status) -> Code {
    match status.code() {
        Code::Cancelled if status.message() == "Timeout expired" => Code::DeadlineExceeded,
        code => code,
    }
}

/// Why a call failed, in a few words.
pub fn reason(status: &Status) -> String {
    match (status.source(), status.message()) {
        (Some(source), _) => innermost(source).to_string(),
        (None, "") => "no reason given".into(),
        (None, message) => message.into(),
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    text: String,
    uri: Uri,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        const WANTED: &str = "write HOST:PORT, such as 127.0.0.1:8001";
        let address = match text.split_once("://") {
            Some(("http", address)) => address,
            Some((scheme, _)) => return Err(format!("{scheme} is not spoken here: {WANTED}")),
            None => text,
        };
        let uri: Uri = format!("http://{address}").parse().map_err(|_| format!("no address: {WANTED}"))?;
        if uri.port_u16().is_none_or(|port| port == 0) || uri.host().is_none_or(str::is_empty) {
            return Err(format!("no host and port: {WANTED}"));
        }
        Ok(Target { text: address.trim_end_matches('/').to_owned(), uri })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A header for each call. A name that ends in `-bin` carries bytes, here those of the text.
#[derive(Debug, Clone)]
pub enum Header {
    /// Text.
    Ascii(AsciiMetadataKey, AsciiMetadataValue),
    /// Bytes.
    Binary(BinaryMetadataKey, BinaryMetadataValue),
}

impl Header {
    fn put(&self, metadata: &mut MetadataMap) {
        match self.clone() {
            Header::Ascii(key, value) => _ = metadata.append(key, value),
            Header::Binary(key, value) => _ = metadata.append_bin(key, value),
        }
    }
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Header, String> {
        let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
        let key = key.to_ascii_lowercase();
        let no_key = |_| format!("{key:?} is no name of a header");
        if key.ends_with("-bin") {
            let value = BinaryMetadataValue::from_bytes(value.as_bytes());
            return Ok(Header::Binary(key.parse().map_err(no_key)?, value));
        }
        let value = value.parse().map_err(|_| "a header's value is printable ASCII".to_owned())?;
        Ok(Header::Ascii(key.parse().map_err(no_key)?, value))
    }
}

fn unreachable(target: &Target, error: &(dyn Error + 'static)) -> Failure {
    let cause = innermost(error);
    match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => {
            Failure::failed(format_args!("nothing listens at {target}: start a server, or name one by --target"))
        }
        _ => Failure::failed(format_args!("no connection to {target}: {cause}")),
    }
}

/// What an error comes from in the end.
fn innermost<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// Runs a command that asks a server: on this thread alone, so that no other stands between a call and its clock.
///
/// # Errors
/// The command's own failure.
pub fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format_args!("no runtime: {error}")))?.block_on(command)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::wire::proto::inference::ServerLiveRequest;

    fn server(target: &str) -> ServerArgs {
        ServerArgs { target: target.parse().unwrap(), headers: Vec::new(), timeout: Period::seconds(5) }
    }

    #[test]
    fn a_target_is_a_host_and_a_port_with_or_without_its_scheme() {
        for text in ["127.0.0.1:8001", "http://127.0.0.1:8001", "http://127.0.0.1:8001/"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), "127.0.0.1:8001");
        }
        assert_eq!("[::1]:8001".parse::<Target>().unwrap().to_string(), "[::1]:8001");
        for text in ["", "localhost", ":8001", "localhost:0", "localhost:99999", "a b:1", "https://localhost:8001"] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn headers_are_text_or_bytes_by_their_name() {
        let mut metadata = MetadataMap::new();
        for text in ["Authorization=Bearer a=b", "trace-bin=é"] {
            text.parse::<Header>().unwrap().put(&mut metadata);
        }
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer a=b");
        assert_eq!(metadata.get_bin("trace-bin").unwrap().to_bytes().unwrap(), "é".as_bytes());
        for text in ["authorization", "a b=c", "key=\n", "=value"] {
            assert!(text.parse::<Header>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_status_is_told_with_its_message_and_its_code() {
        let refused = |status| server("h:1").refused(&status).to_string();
        assert_eq!(refused(Status::not_found("model \"x\" is not known")), "model \"x\" is not known (NOT_FOUND)");
        let late = "no answer from h:1 within 5s: allow more by --timeout";
        assert_eq!(refused(Status::deadline_exceeded("late")), late);
        assert_eq!(refused(Status::cancelled("Timeout expired")), late);
        assert_eq!(refused(Status::cancelled("")), "no reason given (CANCELLED)");
    }

    #[tokio::test]
    async fn a_port_on_which_nothing_listens_is_said_to_be_one() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let failure = server(&format!("127.0.0.1:{port}")).connect().await.unwrap_err();
        assert_eq!(failure.code(), 1);
        assert!(failure.to_string().starts_with(&format!("nothing listens at 127.0.0.1:{port}")), "{failure}");
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_left_at_the_timeout() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let server = ServerArgs { timeout: Period::millis(20), ..server(&target) };
        let mut client = server.connect().await.unwrap();
        let status = client.server_live(server.request(ServerLiveRequest {})).await.unwrap_err();
        let expected = format!("no answer from {target} within 20ms: allow more by --timeout");
        assert_eq!(server.refused(&status), Failure::failed(expected));
    }

    #[tokio::test]
    async fn a_server_that_speaks_something_else_is_asked_about() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = server(&listener.local_addr().unwrap().to_string());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        });
        let mut client = server.connect().await.unwrap();
        let status = client.server_live(server.request(ServerLiveRequest {})).await.unwrap_err();
        let failure = server.refused(&status).to_string();
        assert!(failure.contains("is it a gRPC server? "), "{failure}");
    }
}
