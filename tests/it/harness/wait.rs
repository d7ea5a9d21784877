//! Waiting in tests: for something that happens, and never without end.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{interval, timeout};

/// Longer than anything here takes, also on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at that tells nobody when it changes.
const GLANCE: Duration = Duration::from_millis(2);

/// The future's output, or a failed test that names the line which waited.
#[track_caller]
pub fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        match timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("nothing happened within {PATIENCE:?} at {caller}"),
        }
    }
}

/// Waits until `holds`. For what tells nobody when it changes; where a signal exists, wait for that.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let mut glances = interval(GLANCE);
        let held = timeout(PATIENCE, async {
            while !holds().await {
                glances.tick().await;
            }
        });
        if held.await.is_err() {
            panic!("{what}: not so within {PATIENCE:?} at {caller}");
        }
    }
}
