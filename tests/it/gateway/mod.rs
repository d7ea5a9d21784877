//! A gateway over real sockets, in front of workers of ours and of backends that do what a script says.

mod answers;
mod breakdown;
mod encrypted;
mod failing;
mod leaving;
mod listing;
mod models;
mod natures;
mod time;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::harness::{Fronting, Model, Oip, Serving, echo, echoed, eventually, within};

/// A worker that serves these.
async fn worker(models: impl IntoIterator<Item = Model>) -> Serving {
    Serving::with(models, |config| config.load_report = true).await
}

/// The first value that comes back for this one.
async fn call(client: &mut Oip, value: f32) -> Result<f32, Status> {
    let answer = within(client.model_infer(echo(&[value]))).await?;
    Ok(echoed(answer.get_ref())[0])
}

/// Callers that never rest until they are told to.
struct Callers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<BTreeMap<String, usize>>,
}

impl Callers {
    async fn of(fronting: &Fronting, count: usize) -> Callers {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let (mut client, stop) = (fronting.oip().await, stop.clone());
            tasks.spawn(async move {
                let mut ends = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let end = match call(&mut client, number as f32).await {
                        Ok(value) if value == number as f32 => "answered".to_owned(),
                        Ok(value) => format!("answered with {value}, which is another's"),
                        Err(status) => {
                            // As a client does that was refused.
                            tokio::time::sleep_until(tokio::time::Instant::now() + std::time::Duration::from_millis(2))
                                .await;
                            format!("{:?}: {}", status.code(), status.message())
                        }
                    };
                    *ends.entry(end).or_default() += 1;
                }
                ends
            });
        }
        Callers { stop, tasks }
    }

    /// How often their calls ended how.
    async fn rest(self) -> BTreeMap<String, usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::new();
        for (end, count) in within(self.tasks.join_all()).await.into_iter().flatten() {
            *all.entry(end).or_default() += count;
        }
        all
    }
}

/// Waits until so many more calls were answered.
async fn more_answers(fronting: &Fronting, count: u64) {
    let before = fronting.totals().answered;
    eventually("calls are answered", async || fronting.totals().answered >= before + count).await;
}

/// Waits until nobody listens there any more.
async fn freed(address: SocketAddr) {
    eventually("the port is free", async || std::net::TcpListener::bind(address).is_ok()).await;
}

fn code<T: std::fmt::Debug>(result: &Result<T, Status>) -> Code {
    result.as_ref().err().map_or(Code::Ok, Status::code)
}
