//! Fifth stage: do it. A batch comes in through a slot, an instance's thread runs it, its answer goes out.
//! Nothing here knows where a model came from.

mod engine;

pub use engine::{Engine, Loaded};
