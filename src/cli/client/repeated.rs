//! The same inference again and again: its message is made and framed once, and of an answer nothing is read but how
//! it ended, unless somebody wants it. So what is measured is the server, and as little as possible of this side.

use std::error::Error;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

use super::{LARGEST_MESSAGE, ServerArgs};
use crate::cli::failure::Failure;
use crate::wire::proto::inference::ModelInferRequest;

const PATH: &str = "/inference.GRPCInferenceService/ModelInfer";

/// What gRPC puts before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// One inference over some connections. Clones share them.
#[derive(Debug, Clone)]
pub struct Repeated {
    connections: Vec<Channel>,
    headers: HeaderMap,
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
        let mut channels = Vec::with_capacity(connections);
        for _ in 0..connections {
            channels.push(server.channel().await?);
        }
        let mut headers = server.request(()).into_parts().0.into_headers();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let deadline = server.timeout.unless_zero();
        Ok(Repeated { connections: channels, headers, framed, deadline })
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
        let mut channel = self.connections[number % self.connections.len()].clone();
        let channel = channel.ready().await.map_err(failed)?;
        let response = channel.call(self.request()).await.map_err(failed)?;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return ended(status, Bytes::new());
        }
        let http = response.status();
        let mut body = response.into_body();
        let mut message = BytesMut::new();
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) if keep => message.extend_from_slice(&data),
                Ok(_) => {}
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    if let Some(status) = Status::from_header_map(&trailers) {
                        return ended(status, message.freeze());
                    }
                }
            }
        }
        Err(Status::unknown(format!("the answer has no grpc-status (HTTP status {http})")))
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::new(Full::new(self.framed.clone())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(PATH);
        *request.headers_mut() = self.headers.clone();
        request
    }
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

fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Status {
    Status::from_error(error.into())
}

fn ended(status: Status, mut framed: Bytes) -> Result<Bytes, Status> {
    match status.code() {
        Code::Ok => Ok(framed.split_off(PREFIX.min(framed.len()))),
        _ => Err(status),
    }
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
