//! A client as gRPC's rules want it: it holds a connection to each gateway, sends no call to one that has said GOAWAY,
//! and sends a call again only where the gateway says that it never took it. It tries nothing else again, so that every
//! failure is seen.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::Reason;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use infergate::wire::proto::inference::model_infer_request::InferInputTensor;
use infergate::wire::proto::inference::{ModelInferRequest, ModelInferResponse};
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::worker::MODEL;

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long the client waits before it connects again with who does not listen.
const REDIAL: Duration = Duration::from_millis(50);
/// How often a call is sent at most.
const ATTEMPTS: usize = 3;

/// Holds the connections.
pub struct Client {
    links: Vec<Arc<Link>>,
    next: AtomicUsize,
    resent: AtomicUsize,
}

/// The connection with one gateway.
struct Link {
    address: String,
    open: Mutex<Option<SendRequest<Bytes>>>,
}

impl Client {
    /// A client of these gateways, once it is connected with all.
    pub async fn connect(addresses: impl Iterator<Item = String>) -> Client {
        let links = addresses.map(|address| Arc::new(Link { address, open: Mutex::default() })).collect();
        let client = Client { links, next: AtomicUsize::new(0), resent: AtomicUsize::new(0) };
        client.links.iter().for_each(|link| drop(tokio::spawn(link.clone().keep())));
        client.whole().await;
        client
    }

    /// Until it is connected with every gateway.
    pub async fn whole(&self) {
        for link in &self.links {
            while link.ready().await.is_none() {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Calls that a gateway gave back untouched so far.
    pub fn resent(&self) -> usize {
        self.resent.load(Relaxed)
    }

    /// Makes the call of this number; says what is wrong with its answer.
    pub async fn call(&self, number: u64) -> Result<(), String> {
        let called = timeout(DEADLINE + Duration::from_secs(1), self.attempts(number)).await;
        called.unwrap_or_else(|_| Err("no answer at all".to_owned()))
    }

    async fn attempts(&self, number: u64) -> Result<(), String> {
        let message = message(number);
        for _ in 0..ATTEMPTS {
            let requests = self.ready().await.ok_or("no gateway is connected")?;
            match exchange(requests, message.clone()).await {
                Ok(answer) => return answer.check(number),
                Err(error) if was_not_taken(&error) => _ = self.resent.fetch_add(1, Relaxed),
                Err(error) => return Err(format!("the connection broke: {error}")),
            }
        }
        Err("no gateway takes the call".to_owned())
    }

    /// The next connection in turn that takes calls.
    async fn ready(&self) -> Option<SendRequest<Bytes>> {
        let first = self.next.fetch_add(1, Relaxed);
        for number in 0..self.links.len() {
            let open = self.links[(first + number) % self.links.len()].ready().await;
            if open.is_some() {
                return open;
            }
        }
        None
    }
}

impl Link {
    /// Connects again and again.
    async fn keep(self: Arc<Link>) {
        loop {
            if let Ok(stream) = TcpStream::connect(&self.address).await {
                let _ = stream.set_nodelay(true);
                self.hold(stream).await;
            }
            sleep(REDIAL).await;
        }
    }

    /// Until the gateway takes no more calls on this connection; those in flight go on.
    async fn hold(&self, stream: TcpStream) {
        let Ok((requests, connection)) = h2::client::handshake(stream).await else { return };
        let ended = tokio::spawn(connection);
        self.set(Some(requests.clone()));
        while self.ready().await.is_some() && !ended.is_finished() {
            sleep(Duration::from_millis(10)).await;
        }
        self.set(None);
    }

    async fn ready(&self) -> Option<SendRequest<Bytes>> {
        let open = self.open.lock().expect("nothing panics with it").clone()?;
        // Fails from the moment on in which the connection has read GOAWAY.
        open.ready().await.ok()
    }

    fn set(&self, open: Option<SendRequest<Bytes>>) {
        *self.open.lock().expect("nothing panics with it") = open;
    }
}

/// Whether the server says that it did nothing with the call (RFC 9113, 6.8 and 8.7).
fn was_not_taken(error: &h2::Error) -> bool {
    let reason = error.reason();
    (error.is_go_away() && error.is_remote() && reason == Some(Reason::NO_ERROR))
        || (error.is_reset() && reason == Some(Reason::REFUSED_STREAM))
}

/// The call whose id and only value are its number, as gRPC frames it.
fn message(number: u64) -> Bytes {
    let input = InferInputTensor { name: "x".into(), datatype: "UINT64".into(), shape: vec![1], ..Default::default() };
    let request = ModelInferRequest {
        model_name: MODEL.into(),
        id: number.to_string(),
        inputs: vec![input],
        raw_input_contents: vec![number.to_le_bytes().to_vec().into()],
        ..Default::default()
    };
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(request.encoded_len() as u32);
    request.encode(&mut framed).expect("a buffer grows");
    framed.freeze()
}

/// All that came for one call.
struct Answer {
    body: Bytes,
    status: HeaderMap,
}

async fn exchange(mut requests: SendRequest<Bytes>, message: Bytes) -> Result<Answer, h2::Error> {
    let request = Request::post("http://gateway/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{}m", DEADLINE.as_millis()));
    let (response, mut stream) = requests.send_request(request.body(()).expect("a request"), false)?;
    stream.send_data(message, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        bytes.extend_from_slice(&part);
    }
    let status = body.trailers().await?.unwrap_or(head.headers);
    Ok(Answer { body: bytes.freeze(), status })
}

impl Answer {
    /// Exactly one message, and the one that belongs to this call.
    fn check(self, number: u64) -> Result<(), String> {
        let text = |name: &str| self.status.get(name).and_then(|value| value.to_str().ok()).unwrap_or("missing");
        if text("grpc-status") != "0" {
            return Err(format!("status {}: {}", text("grpc-status"), text("grpc-message")));
        }
        let length = self.body.get(1..5).map_or(0, |prefix| u32::from_be_bytes(prefix.try_into().expect("four")));
        if self.body.len() != length as usize + 5 {
            return Err(format!("{} bytes are not one message of {length}", self.body.len()));
        }
        let answer = ModelInferResponse::decode(self.body.slice(5..)).map_err(|error| error.to_string())?;
        let value = answer.raw_output_contents.first().map(|raw| raw.to_vec());
        let is_own = *answer.id == *number.to_string() && value == Some(number.to_le_bytes().to_vec());
        if is_own { Ok(()) } else { Err(format!("the answer of call {} came for another", &answer.id)) }
    }
}
