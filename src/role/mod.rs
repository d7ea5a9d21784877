//! The assemblies: each role's stages, written outside-in, the way a call meets them. Nothing else knows of all of them.

mod batching;
mod collector;
mod gateway;
mod inforce;
mod loader;
mod ports;
mod process;
mod pushing;
mod served;
mod server;
mod states;
mod telemetry;
mod tracing;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use gateway::Gateway;
pub use loader::{Engines, ModelService, loader, onnx_runtime};
pub use ports::Addresses;
pub use process::Process;
pub use server::{Server, StartError};
pub use telemetry::Telemetry;

use crate::accept::{
    Access, BodyRules, ByteBudget, Calls, CatalogDirectory, Deadlines, Directory, Front, HealthService,
    OpenInferenceControl, Phases, Readiness, Rules, RuntimeSettings, TensorFlowControl, Tracing, health_server,
    open_inference_server, prediction_server, reflection, status_server,
};
use crate::admit::{Deadline, InFlight, Limit};
use crate::balance::{EndpointRules, Router};
use crate::config::Config;
use crate::error::Room;
use crate::infer::Infer;
use crate::models::{Catalog, Repository};
use crate::observe::push::Pusher;
use crate::observe::{CallTable, Ledger, Metrics, StatisticsTable};
use crate::wire::status;

/// The stages between the door and a model.
pub type Stages = Limit<Deadline<Router<ModelService>>>;

/// What a serving process consists of, behind its ports.
pub struct Parts {
    /// Everything on the calls' port.
    pub front: Arc<Front<Stages>>,
    /// What is served.
    pub catalog: Catalog<ModelService>,
    /// Whether it can be called, and how far it is in its life.
    pub readiness: Readiness<CatalogDirectory<ModelService>>,
    /// Counts of calls by their end.
    pub ledger: Arc<Ledger>,
    /// What the process tells of itself.
    pub metrics: Arc<Metrics>,
    /// Pushes those, where anybody asks for it.
    pub pusher: Option<Pusher>,
    /// Says to the queues that the process is leaving.
    pub leaving: watch::Sender<bool>,
}

/// All in one: the front door and the models in one process.
pub fn serve(process: &Process, repository: Repository, engines: Engines, telemetry: Telemetry) -> Parts {
    let config = &process.settings.config;
    let statistics = Arc::new(StatisticsTable::default());
    let ledger = Arc::new(Ledger::default());
    let measures = measures(config);
    let metrics = told(config, statistics.clone(), &ledger, measures.as_ref(), &telemetry);
    let (leaving, soon) = watch::channel(false);
    let loader = loader(config, engines, statistics.clone(), soon);
    let catalog = Catalog::new(repository, loader, config.compute.load_concurrency);
    let phases = Phases::default();
    let metrics = Arc::new(metrics.with(states::States(catalog.clone())).with(phases.metrics()));
    let pusher = telemetry.push.map(|push| push.start(metrics.clone()));

    let in_flight = InFlight::new(config.limits.in_flight, "the server", Room::InFlight);
    let stages = Limit::new(in_flight, Deadline::new(Router::new(catalog.clone())));

    let directory = CatalogDirectory { catalog: catalog.clone(), statistics };
    let readiness = Readiness { directory, phases };
    let front = door(process, stages, (ledger.clone(), measures), &readiness, telemetry.tracing);
    Parts { front, catalog, readiness, ledger, metrics, pusher, leaving }
}

/// What calls are measured by, where they are.
fn measures(config: &Config) -> Option<Arc<CallTable>> {
    config.metrics.calls.then(|| Arc::new(CallTable::new(status::name)))
}

/// The metrics of a process with these statistics, of its calls, and of what it tells collectors.
fn told(
    config: &Config,
    statistics: Arc<StatisticsTable>,
    ledger: &Arc<Ledger>,
    measures: Option<&Arc<CallTable>>,
    telemetry: &Telemetry,
) -> Metrics {
    let named_as = |server: &str| config.metrics.compatible.iter().any(|name| name == server);
    let mut metrics = Metrics::new(statistics.clone()).with(ledger.metrics());
    if named_as("triton") {
        metrics = metrics.with_triton_names(statistics);
    }
    if named_as("tensorflow-serving") {
        metrics = metrics.with_tensorflow_names();
    }
    let metrics = match measures {
        Some(measures) => metrics.with_calls(measures.clone()),
        None => metrics,
    };
    let metrics = match telemetry.tracing.tracer.metrics() {
        Some(traces) => metrics.with(traces),
        None => metrics,
    };
    match &telemetry.push {
        Some(push) => metrics.with(push.metrics()),
        None => metrics,
    }
}

/// Everything on the calls' port, in front of `stages`.
fn door<S: Infer, D: Directory>(
    process: &Process,
    stages: S,
    (ledger, measures): (Arc<Ledger>, Option<Arc<CallTable>>),
    readiness: &Readiness<D>,
    tracing: Tracing,
) -> Arc<Front<S>> {
    let config = &process.settings.config;
    let settings = RuntimeSettings { log: process.log.clone(), tracer: tracing.tracer.clone() };
    let budget = ByteBudget::new(config.limits.message_bytes.get());
    let calls = Calls::new(stages, rules(config), budget, ledger, readiness.phases.clone(), tracing);
    let calls = calls.noted_in(Access::of(&config.log)).measured_by(measures);
    let (readiness, allow_model_control) = (readiness.clone(), config.allow_model_control);
    let control = OpenInferenceControl { readiness: readiness.clone(), allow_model_control, settings };
    let limit = config.limits.message_size.get();
    let tensorflow = TensorFlowControl { directory: readiness.directory.clone() };
    let front = Front::new(Arc::new(calls))
        .with(open_inference_server(control, limit))
        .with(prediction_server(tensorflow.clone(), limit))
        .with(status_server(tensorflow, limit))
        .with(health_server(HealthService::new(readiness), limit));
    Arc::new(if config.reflection.enabled { reflection(front) } else { front })
}

/// How backends are called.
fn endpoint_rules(config: &Config) -> EndpointRules {
    let (backend, http2) = (&config.backend, &config.http2);
    EndpointRules {
        connect_timeout: backend.connect_timeout.get(),
        silence: backend.silence.get(),
        ping_timeout: backend.ping_timeout.get(),
        connections: backend.connections,
        windows: (http2.stream_window.saturating_u32(), http2.connection_window.saturating_u32()),
        message_size: config.limits.message_size.get(),
    }
}

fn rules(config: &Config) -> Rules {
    let (limits, http2) = (&config.limits, &config.http2);
    Rules {
        deadlines: Deadlines { default: limits.default_deadline.get(), max: limits.max_deadline.get() },
        body: BodyRules {
            message_size: limits.message_size.get(),
            first_byte: http2.first_byte_timeout.get(),
            min_rate: http2.min_body_rate.get(),
        },
        load_report: config.load_report,
        server_timing: config.server_timing,
        stream_in_flight: limits.stream_in_flight,
        stream_idle: http2.idle_timeout.unless_zero().unwrap_or(Duration::from_secs(365 * 24 * 3600)),
    }
}
