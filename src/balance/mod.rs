//! Third stage: who should do it.

mod budget;
mod retry;
mod router;
mod window;

pub use budget::RetryBudget;
pub use retry::{Attempt, GiveUp, Next, Ran, Speaks, decide};
pub use router::Router;
