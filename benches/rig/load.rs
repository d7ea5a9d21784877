//! The client: the same for every server, sending a message that is made once.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use super::process::Process;

pub const WINDOW: u32 = 4 << 20;
pub const CONNECTION_WINDOW: u32 = 16 << 20;
const LIMIT: usize = 64 << 20;

/// Messages as the bytes that they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

/// A server with the call to make.
pub struct Target {
    channels: Vec<Channel>,
    path: PathAndQuery,
    messages: Vec<Bytes>,
    next: Cell<usize>,
}

impl Target {
    pub async fn floor(process: &Process, message: Bytes) -> Target {
        Target::new(process, "/floor.Floor/Call", message).await
    }

    pub async fn model_infer(process: &Process, message: Bytes) -> Target {
        Target::new(process, "/inference.GRPCInferenceService/ModelInfer", message).await
    }

    /// Calls with these messages in turn.
    pub async fn in_turn(process: &Process, messages: Vec<Bytes>) -> Target {
        let first = messages[0].clone();
        Target { messages, ..Target::new(process, "/inference.GRPCInferenceService/ModelInfer", first).await }
    }

    async fn new(process: &Process, path: &'static str, message: Bytes) -> Target {
        let mut channels = Vec::new();
        for _ in 0..4 {
            let endpoint = Endpoint::from_shared(format!("http://{}", process.address)).expect("an address");
            let endpoint =
                endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
            channels.push(endpoint.tcp_nodelay(true).connect().await.expect("a connection"));
        }
        Target { channels, path: PathAndQuery::from_static(path), messages: vec![message], next: Cell::new(0) }
    }

    pub async fn call(&self) -> Bytes {
        self.call_on(0).await
    }

    async fn call_on(&self, caller: usize) -> Bytes {
        let next = self.next.get();
        self.next.set((next + 1) % self.messages.len());
        let answer = self.send(caller, self.path.clone(), self.messages[next].clone(), None).await;
        answer.expect("an answer")
    }

    /// Calls `path`, within `deadline` where one is given.
    pub async fn send(
        &self,
        caller: usize,
        path: PathAndQuery,
        message: Bytes,
        deadline: Option<Duration>,
    ) -> Result<Bytes, Status> {
        let channel = self.channels[caller % self.channels.len()].clone();
        let mut grpc = Grpc::new(channel).max_decoding_message_size(LIMIT).max_encoding_message_size(LIMIT);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = tonic::Request::new(message);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        Ok(grpc.unary(request, path, Raw).await?.into_inner())
    }
}

/// The median time of so many calls one after another, in seconds.
pub async fn one_after_another(target: &Target, calls: usize) -> f64 {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        target.call().await;
        times.push(began.elapsed().as_secs_f64());
    }
    super::median(&mut times)
}

/// The times in seconds of the calls done in `time` with so many in flight over four connections.
pub async fn together(target: &Target, in_flight: usize, time: Duration) -> Vec<f64> {
    let until = Instant::now() + time;
    let callers = (0..in_flight).map(|caller| async move {
        let mut times = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            target.call_on(caller).await;
            times.push(began.elapsed().as_secs_f64());
        }
        times
    });
    futures_util::future::join_all(callers).await.into_iter().flatten().collect()
}
