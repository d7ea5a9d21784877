//! A closed loop: so many callers, of which each waits for its answer and calls again. It shows what a server can do,
//! and not how long callers who come at their own times would wait: a slow answer keeps the next call from being made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Call, Run};

/// How long a caller waits before it tries again to reach a server that is not there.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs so many callers to their end.
pub async fn run(run: &Arc<Run>, concurrency: usize, call: impl Call) {
    let mut callers = JoinSet::new();
    for caller in 0..concurrency {
        callers.spawn(again_and_again(run.clone(), caller as u64, call.clone()));
    }
    callers.join_all().await;
}

async fn again_and_again(run: Arc<Run>, number: u64, call: impl Call) {
    let mut now = Instant::now();
    while run.takes(now) {
        if !run.call(number, now, &call).await {
            sleep(PAUSE).await;
        }
        now = Instant::now();
    }
}
