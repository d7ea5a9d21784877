//! Third stage: who should do it.
//!
//! `router` leads a call to its model. `load` is what one gateway knows of how busy one endpoint is; `pick` decides from
//! it which endpoint gets a call now, `plan` which gets the next batch of calls that wait, and when.

mod breaker;
mod budget;
mod ejection;
mod endpoint;
mod hedge;
mod retry;
pub mod load;
pub mod pick;
pub mod plan;
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
