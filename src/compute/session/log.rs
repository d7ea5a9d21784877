//! What ONNX Runtime logs, as events of `tracing` under the target `onnxruntime`. A run's own failures are not among
//! them: those are returned (see `RunOptions`).

use ort::logging::LogLevel;
use tracing::{Level, event};

const TARGET: &str = "onnxruntime";

/// The lowest level that is worth formatting, as the subscriber stands when the library is loaded.
pub(super) fn threshold() -> LogLevel {
    if tracing::enabled!(target: TARGET, Level::TRACE) {
        LogLevel::Verbose
    } else if tracing::enabled!(target: TARGET, Level::DEBUG) {
        LogLevel::Info
    } else {
        LogLevel::Warning
    }
}

/// Hands one line on, a level lower than ONNX Runtime has it: its warnings are about models that run all the same, its
/// errors mostly about one model that does not.
pub(super) fn forward(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Verbose => event!(target: TARGET, Level::TRACE, location, "{message}"),
        LogLevel::Info => event!(target: TARGET, Level::DEBUG, location, "{message}"),
        LogLevel::Warning => event!(target: TARGET, Level::INFO, location, "{message}"),
        LogLevel::Error => event!(target: TARGET, Level::WARN, location, "{message}"),
        LogLevel::Fatal => event!(target: TARGET, Level::ERROR, location, "{message}"),
    }
}
