//! What a process tells collectors of OpenTelemetry: spans of its calls, and its metrics.

use std::time::Duration;

use super::StartError;
use super::collector::Service;
use super::pushing::pushing;
use super::tracing::tracing;
use crate::accept::Tracing;
use crate::config::{Config, variables_with};
use crate::observe::otlp::{PREFIX, Variables};
use crate::observe::push::{Push, Pusher};
use crate::observe::trace::Tracer;

/// What a collector does not take within this time when the process ends is dropped.
const FLUSH: Duration = Duration::from_secs(2);

/// What is told, before anything is.
pub struct Telemetry {
    /// Spans.
    pub tracing: Tracing,
    /// Metrics, where they are pushed.
    pub push: Option<Push>,
}

impl Telemetry {
    /// As the configuration and the variables ask for it, of a process that is called `name` where nobody says another.
    /// Runs on the runtime that it is called in.
    ///
    /// # Errors
    /// What is wrong with a collector's address.
    pub fn of(config: &Config, name: &'static str) -> Result<Telemetry, StartError> {
        let variables = Variables::of(variables_with(PREFIX));
        let service = Service::called(name);
        Ok(Telemetry { tracing: tracing(config, &variables, service)?, push: pushing(config, &variables, service)? })
    }
}

/// What is told until the process ends.
pub(super) struct Telling {
    pub(super) tracer: Tracer,
    pub(super) pusher: Option<Pusher>,
}

impl Telling {
    /// Tells what waits to be told, and nothing after that; to be called when no calls come any more.
    pub(super) async fn flush(&self) {
        let pushed = async {
            if let Some(pusher) = &self.pusher {
                pusher.flush(FLUSH).await;
            }
        };
        tokio::join!(self.tracer.flush(FLUSH), pushed);
    }
}
