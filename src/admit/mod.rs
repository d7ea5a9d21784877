//! Second stage: may a call enter, and until when. Refusals are made here, at once; nothing here waits.

mod deadline;
mod limit;

pub use deadline::Deadline;
pub use limit::{InFlight, Limit};
