//! Fourth stage: do it with others. Calls wait in a bounded queue until their place has a free slot; while it has one,
//! nothing waits. Nothing here knows what a place is.

mod batcher;
mod queue;

pub use batcher::{Answering, Batcher};
pub use queue::Bounds;
