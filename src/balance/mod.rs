//! Third stage: who should do it.
//!
//! `router` leads a call to its model. `load` is what one gateway knows of how busy one endpoint is; `pick` decides from
//! it which endpoint gets a call now, `plan` which gets the next batch of calls that wait, and when.

pub mod load;
pub mod pick;
pub mod plan;
mod router;

pub use router::Router;
