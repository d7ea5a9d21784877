//! What happened: numbers beside the path of a call. Nothing here changes what a call gets.

mod allowance;
mod arenas;
mod batches;
mod calls;
mod exponential;
mod families;
mod gauges;
mod ledger;
/// What is logged while the process runs.
pub mod log;
mod metrics;
/// What collectors of OpenTelemetry are told by.
pub mod otlp;
mod process;
/// Metrics on their way to a collector.
pub mod push;
mod statistics;
/// Distributed traces.
pub mod trace;
mod triton;

pub use allowance::Allowance;
pub use arenas::{Arena, ArenaBytes, Arenas};
pub use calls::{CallTable, Measured};
pub use gauges::QueueGauges;
pub use ledger::{Entry, Ledger, Totals};
pub use metrics::{Metrics, PROTOBUF, TEXT};
pub use statistics::{BatchTotals, Counted, ModelTotals, Statistics, StatisticsTable, Total};
