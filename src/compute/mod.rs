//! Fifth stage: do it. A batch comes in through a slot, an instance's thread runs it, its answer goes out.
//! Nothing here knows where a model came from.

mod buffers;
mod engine;
/// The thread plan, from the CPUs that this process may use.
pub mod plan;
mod runner;
/// Models in ONNX Runtime: the engine over a session.
pub mod session;

mod shares;
/// Whether a model's rows may be run together.
pub mod trial;
mod warm;

pub use engine::{Engine, Loaded};
pub use runner::{CpuUse, Identity, RunnerSlot, Runners};
pub use shares::CpuShares;
pub use warm::warm;
