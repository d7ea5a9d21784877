//! What clients may ask of the log and of traces while the process runs, and set: Triton's LogSettings and TraceSetting. They
//! change nothing but that, until the process ends; a request is done in full or not at all.

mod logging;
mod tracing;

use crate::error::{Error, Result};
use crate::observe::log::Log;
use crate::observe::trace::Tracer;

pub(super) use logging::{log_settings, set_log};
pub(super) use tracing::{set_trace, trace_settings};

/// What can be set.
#[derive(Debug, Clone, Default)]
pub struct RuntimeSettings {
    /// The log, where the process has one of its own.
    pub log: Option<Log>,
    /// Traces.
    pub tracer: Tracer,
}

/// A name or a value of a caller's, as long as a sentence bears.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

fn unknown(name: &str, known: &[&str]) -> Error {
    Error::invalid(format!("setting {:?} is not known, allowed are {}", shown(name), known.join(", ")))
}

/// A refusal of what can only be set when the process starts.
fn fixed<T>(name: &str, key: &str) -> Result<T> {
    Err(Error::unsupported(format!(
        "setting {name:?} cannot be changed while the server runs: set {key} and start it again"
    )))
}
