//! Fourth stage: do it with others. Calls wait in a bounded queue until their place has a free slot; while it has one,
//! nothing waits, unless a delay was asked for. Nothing here knows what a place is.
//!
//! A call's way: `call` reads what it asks for, `shape` measures what it goes together with, `queue` keeps it in the
//! `lane` of its shape, `fair`, `closing` and `plan` decide what goes next, `merge` makes one request of several, `running`
//! gives each its part of the answer, `waiter` is the caller's end. `tuner` and `margin` learn from the answers.

mod batcher;
mod call;
mod closing;
mod fair;
#[cfg(test)]
mod fixture;
mod lane;
mod margin;
mod merge;
mod plan;
mod queue;
mod reply;
mod rules;
mod running;
mod shape;
mod tuner;
mod waiter;

pub use batcher::Batcher;
pub use rules::{Bounds, Level, Pad, Rules};
pub use waiter::Answering;
