//! The client: the same for every server, sending a message that is made once.

use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use crate::process::Process;

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
    message: Bytes,
}

impl Target {
    pub async fn floor(process: &Process, message: Bytes) -> Target {
        Target::new(process, "/floor.Floor/Call", message).await
    }

    pub async fn model_infer(process: &Process, message: Bytes) -> Target {
        Target::new(process, "/inference.GRPCInferenceService/ModelInfer", message).await
    }

    async fn new(process: &Process, path: &'static str, message: Bytes) -> Target {
        let mut channels = Vec::new();
        for _ in 0..4 {
            let endpoint = Endpoint::from_shared(format!("http://{}", process.address)).expect("an address");
            let endpoint =
                endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
            channels.push(endpoint.tcp_nodelay(true).connect().await.expect("a connection"));
        }
        Target { channels, path: PathAndQuery::from_static(path), message }
    }

    pub async fn call(&self) -> Bytes {
        self.call_on(0).await
    }

    async fn call_on(&self, channel: usize) -> Bytes {
        let mut grpc =
            Grpc::new(self.channels[channel].clone()).max_decoding_message_size(LIMIT).max_encoding_message_size(LIMIT);
        grpc.ready().await.expect("a ready connection");
        let answer = grpc.unary(tonic::Request::new(self.message.clone()), self.path.clone(), Raw).await;
        answer.expect("an answer").into_inner()
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

/// Calls done in `time` with so many in flight over four connections.
pub async fn together(target: &Target, in_flight: usize, time: Duration) -> usize {
    let until = Instant::now() + time;
    let callers = (0..in_flight).map(|caller| async move {
        let mut done = 0;
        while Instant::now() < until {
            target.call_on(caller % target.channels.len()).await;
            done += 1;
        }
        done
    });
    futures_util::future::join_all(callers).await.into_iter().sum()
}
