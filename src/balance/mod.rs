//! Third stage: who should do it.

mod breaker;
mod budget;
mod ejection;
mod endpoint;
mod hedge;
mod retry;
mod router;
mod window;

pub use breaker::{Admission, Breaker, Pass, Snapshot, State, patience};
pub use budget::RetryBudget;
pub use ejection::{Relief, Standing, nobody_ready, relieve};
pub use hedge::Hedging;
pub use retry::{Attempt, GiveUp, Next, Ran, Speaks, decide};
pub use router::Router;

/// The time. The runtime's clock stands still and leaps in tests; elsewhere it is the system's.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
