//! The load: the same for every server, sending a message that is made once.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::time::timeout;
use tonic::Status;

use super::client::{Connection, Prepared};
use super::process::Process;

const CONNECTIONS: usize = 4;

/// What is not answered by then is not answered: haproxy 2.6 was seen to stand still with 128 calls of 1 MiB in flight.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A server with the call to make.
pub struct Target {
    address: String,
    connections: Vec<Connection>,
    calls: Vec<Prepared>,
    next: Cell<usize>,
}

impl Target {
    pub async fn floor(process: &Process, message: Bytes) -> Target {
        Target::new(process, "/floor.Floor/Call", vec![message]).await
    }

    pub async fn model_infer(process: &Process, message: Bytes) -> Target {
        Target::in_turn(process, vec![message]).await
    }

    /// Calls with these messages in turn.
    pub async fn in_turn(process: &Process, messages: Vec<Bytes>) -> Target {
        Target::new(process, "/inference.GRPCInferenceService/ModelInfer", messages).await
    }

    async fn new(process: &Process, path: &'static str, messages: Vec<Bytes>) -> Target {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(&process.address).await);
        }
        let path = PathAndQuery::from_static(path);
        let calls = messages.iter().map(|message| Prepared::new(&process.address, &path, message)).collect();
        Target { address: process.address.clone(), connections, calls, next: Cell::new(0) }
    }

    /// Calls once, and gives the answer.
    pub async fn call(&self) -> Bytes {
        self.attempt().await.expect("an answer")
    }

    /// Calls once, and gives what that was answered.
    pub async fn attempt(&self) -> Result<Bytes, Status> {
        self.answer(0, true).await
    }

    /// Waits until a call is answered: a gateway listens before it knows what its worker serves.
    pub async fn until_it_answers(&self) {
        for _ in 0..200 {
            if self.attempt().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn answer(&self, caller: usize, keep: bool) -> Result<Bytes, Status> {
        let next = self.next.get();
        self.next.set((next + 1) % self.calls.len());
        self.connection(caller).call(&self.calls[next], keep).await
    }

    fn connection(&self, caller: usize) -> &Connection {
        &self.connections[caller % self.connections.len()]
    }

    /// Calls `path`, within `deadline` where one is given.
    pub async fn send(
        &self,
        caller: usize,
        path: PathAndQuery,
        message: Bytes,
        deadline: Option<Duration>,
    ) -> Result<Bytes, Status> {
        let call = Prepared::new(&self.address, &path, &message);
        match deadline {
            None => self.connection(caller).call(&call, true).await,
            Some(deadline) => {
                let call = call.within(deadline);
                let answer = timeout(deadline, self.connection(caller).call(&call, true));
                answer.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within the deadline")))
            }
        }
    }
}

/// The median time of so many calls one after another, in seconds.
pub async fn one_after_another(target: &Target, calls: usize) -> f64 {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        target.answer(0, false).await.expect("an answer");
        times.push(began.elapsed().as_secs_f64());
    }
    super::median(&mut times)
}

/// The times in seconds of the calls done in `time` with so many in flight over four connections.
pub async fn together(target: &Target, in_flight: usize, time: Duration) -> Vec<f64> {
    attempted(target, in_flight, time).await.into_iter().map(|ended| ended.expect("an answer")).collect()
}

/// The same with calls that were not answered well among them, as what they were answered.
pub async fn attempted(target: &Target, in_flight: usize, time: Duration) -> Vec<Result<f64, Status>> {
    let until = Instant::now() + time;
    let callers = (0..in_flight).map(|caller| async move {
        let mut times = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            let answer = timeout(PATIENCE, target.answer(caller, false)).await;
            let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
            times.push(answer.map(|_| began.elapsed().as_secs_f64()));
        }
        times
    });
    futures_util::future::join_all(callers).await.into_iter().flatten().collect()
}
