//! The same inference again and again: its message is made and framed once, and of an answer nothing is read but how
//! it ended, unless somebody wants it. So what is measured is the server, and as little as possible of this side.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::Reason;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use prost::Message;
use tonic::{Code, Status};

use super::connection::Connection;
use super::{LARGEST_MESSAGE, ServerArgs, unreachable};
use crate::cli::failure::Failure;
use crate::wire::GRPC;
use crate::wire::proto::inference::ModelInferRequest;

const PATH: &str = "/inference.GRPCInferenceService/ModelInfer";

/// What gRPC puts before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// One inference over some connections. Clones share them.
#[derive(Debug, Clone)]
pub struct Repeated {
    connections: Arc<[Connection]>,
    head: Arc<Request<()>>,
    framed: Bytes,
    deadline: Option<Duration>,
}

impl Repeated {
    /// Connects as often as is said, and proves each connection.
    ///
    /// # Errors
    /// A failure that says what stands in the way, a wrong use where the message is larger than gRPC has any.
    pub async fn connect(
        server: &ServerArgs,
        connections: usize,
        message: &ModelInferRequest,
    ) -> Result<Repeated, Failure> {
        let framed = framed(message)?;
        let mut opened = Vec::with_capacity(connections);
        for _ in 0..connections {
            let connection = Connection::open(&server.target).await;
            opened.push(connection.map_err(|error| unreachable(&server.target, &error))?);
        }
        let deadline = server.timeout.unless_zero();
        Ok(Repeated { connections: opened.into(), head: Arc::new(head(server)?), framed, deadline })
    }

    /// Calls once, over the connection of that number or the one that comes around to it. Where the answer is to be
    /// kept it is returned, otherwise nothing is.
    ///
    /// # Errors
    /// How the call ended, where it did not end well.
    pub async fn call(&self, number: usize, keep: bool) -> Result<Bytes, Status> {
        let call = self.answer(number, keep);
        match self.deadline {
            Some(deadline) => tokio::time::timeout(deadline, call)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within the deadline"))),
            None => call.await,
        }
    }

    async fn answer(&self, number: usize, keep: bool) -> Result<Bytes, Status> {
        let connection = &self.connections[number % self.connections.len()];
        let answer = connection.begin(&self.head, &self.framed).await.map_err(unreached)?;
        let (head, mut body) = answer.await.map_err(cut_off)?.into_parts();
        let mut message = BytesMut::new();
        while let Some(frame) = body.data().await {
            let frame = frame.map_err(cut_off)?;
            let _ = body.flow_control().release_capacity(frame.len());
            if keep {
                message.extend_from_slice(&frame);
            }
        }
        let trailers = body.trailers().await.map_err(cut_off)?;
        let told = trailers.as_ref().unwrap_or(&head.headers);
        // What almost every call says, without making a status of it.
        if told.get("grpc-status").is_some_and(|code| code == "0") {
            let prefix = PREFIX.min(message.len());
            return Ok(message.freeze().split_off(prefix));
        }
        Err(Status::from_header_map(told)
            .unwrap_or_else(|| Status::unknown(format!("the answer has no grpc-status (HTTP status {})", head.status))))
    }
}

/// What each call begins with.
fn head(server: &ServerArgs) -> Result<Request<()>, Failure> {
    let authority = server.target.to_string();
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(PATH).build();
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.uri_mut() = uri.map_err(|error| Failure::wrong_use(format_args!("--target {}: {error}", server.target)))?;
    *head.headers_mut() = headers(server);
    Ok(head)
}

fn headers(server: &ServerArgs) -> HeaderMap {
    let mut headers = server.request(()).into_parts().0.into_headers();
    headers.insert(header::CONTENT_TYPE, GRPC);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers
}

fn framed(message: &ModelInferRequest) -> Result<Bytes, Failure> {
    let len = message.encoded_len();
    if len > LARGEST_MESSAGE {
        return Err(Failure::wrong_use(format_args!("the inputs take {len} bytes: a message holds {LARGEST_MESSAGE}")));
    }
    let mut framed = BytesMut::with_capacity(PREFIX + len);
    framed.put_u8(0);
    framed.put_u32(len as u32);
    message.encode(&mut framed).expect("there is room for all of it");
    Ok(framed.freeze())
}

/// A call that did not reach the server.
fn unreached(error: impl Error + Send + Sync + 'static) -> Status {
    let mut status = Status::unavailable(error.to_string());
    status.set_source(Arc::new(error));
    status
}

/// A call that was cut off: by the server, with the code that gRPC has for HTTP/2's reason, or with its connection.
fn cut_off(error: h2::Error) -> Status {
    let code = match error.reason().filter(|_| error.is_reset()) {
        None | Some(Reason::REFUSED_STREAM) => return unreached(error),
        Some(Reason::CANCEL) => Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(_) => Code::Internal,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::Header;
    use crate::cli::stub::Stub;
    use crate::config::Period;
    use crate::wire::proto::inference::ModelInferResponse;

    async fn connected(stub: &Stub) -> Repeated {
        let target = stub.start().await.parse().unwrap();
        let headers = vec!["authorization=Bearer t".parse::<Header>().unwrap()];
        let server = ServerArgs { target, headers, timeout: Period::seconds(9) };
        let message = ModelInferRequest { model_name: "m".into(), ..Default::default() };
        Repeated::connect(&server, 2, &message).await.unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_kept_only_where_somebody_wants_it() {
        let answer = ModelInferResponse { model_name: "m".into(), ..Default::default() };
        let stub = Stub::default().answering("ModelInfer", &answer);
        let repeated = connected(&stub).await;
        assert_eq!(repeated.call(0, true).await.unwrap(), answer.encode_to_vec());
        assert_eq!(repeated.call(1, false).await.unwrap(), Bytes::new());
        for headers in stub.seen() {
            assert_eq!(
                (&headers["authorization"], &headers["te"]),
                (&"Bearer t".parse().unwrap(), &"trailers".parse().unwrap())
            );
            assert!(headers.contains_key("grpc-timeout"), "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_as_the_server_told_it() {
        let repeated = connected(&Stub::default().refusing("ModelInfer", 8, "full")).await;
        let status = repeated.call(0, false).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "full"));
    }
}
