//! `infergate serve` and `infergate worker`: a process that runs models, until it is told to stop.

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_appender::non_blocking::WorkerGuard;

use super::failure::{Failure, print};
use super::{ConfigArgs, SourceArgs, asynchronous};
use crate::compute::plan;
use crate::compute::session::Runtime;
use crate::config::{Effective, LogFormat, Overrides, variables};
use crate::observe::log::{self, Log};
use crate::role::{Addresses, Process, Server, StartError, onnx_runtime};

/// Flags of `infergate serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    ports: PortArgs,
}

/// Flags of `infergate worker`: those of `serve`, with defaults for a process behind gateways.
#[derive(Debug, Args)]
#[command(
    after_help = "It is `infergate serve` with other defaults: both ports are open to the network, and answers end \
                        with a load report for the gateways in front."
)]
pub(super) struct WorkerArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    ports: PortArgs,
}

/// Where a process listens.
#[derive(Debug, Args)]
pub(super) struct PortArgs {
    /// Where calls are taken; port 0 takes a free one [default: port 8001 of 127.0.0.1, for worker and gateway of 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where probes are answered and metrics shown [default: port 8002, likewise]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

impl SourceArgs {
    /// The configuration out of file, environment and flags.
    pub(super) fn load(&self, mut overrides: Overrides) -> Result<Effective, Failure> {
        for setting in &self.settings {
            let Some((key, value)) = setting.split_once('=') else {
                return Err(Failure::wrong_use(format_args!("--set {setting}: expected KEY=VALUE")));
            };
            overrides = overrides.flag("--set", key, Some(value));
        }
        // The variable that names the file is no key of the configuration.
        let variables = variables().filter(|(name, _)| name != "INFERGATE_CONFIG");
        Effective::load(self.config.as_deref(), variables, overrides).map_err(Failure::wrong_use)
    }
}

impl ConfigArgs {
    /// The configuration out of file, environment and flags.
    pub(super) fn load(&self, overrides: Overrides) -> Result<Effective, Failure> {
        let path = |path: &std::path::PathBuf| path.display().to_string();
        let models = self.models.as_ref().map(path);
        let model = self.model.as_ref().map(path);
        self.source.load(overrides.flag("--models", "models", models).flag("MODEL.onnx", "models", model))
    }
}

impl PortArgs {
    /// The ports that were asked for.
    pub(super) fn overrides(&self) -> Overrides {
        let (listen, admin) = (self.listen.as_ref(), self.admin.as_ref());
        Overrides::default().flag("--listen", "listen", listen).flag("--admin", "admin", admin)
    }
}

/// What a process listens on that others reach over the network.
pub(super) fn reachable(overrides: Overrides) -> Overrides {
    overrides.role_default("listen", "0.0.0.0:8001").role_default("admin", "0.0.0.0:8002")
}

impl ServeArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        run(self.config.load(self.ports.overrides())?)
    }
}

impl WorkerArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        run(self.config.load(reachable(self.ports.overrides()).role_default("load_report", true))?)
    }
}

fn run(settings: Effective) -> Result<(), Failure> {
    if settings.config.models.is_none() {
        return Err(Failure::wrong_use(StartError::NoModels));
    }
    let (process, _lines) = started(settings);
    let config = &process.settings.config;
    let runtime = Runtime::load().map_err(Failure::failed)?;
    let cpus = config.compute.cpus.unwrap_or_else(plan::cpus);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), onnxruntime = runtime.version(), cpus, "starting");
    let threads = asynchronous(cpus)?;
    let served = threads.block_on(until_stopped(async {
        let server = Server::start_in(&process, onnx_runtime(runtime)).await?;
        Ok((server.addresses(), server.drain()))
    }));
    // A model that is still loading keeps nobody waiting.
    threads.shutdown_background();
    served
}

/// Starts, says where it listens, and drains when it is told to stop. `start` gives the addresses and what drains.
pub(super) async fn until_stopped<D: Future<Output = ()>>(
    start: impl Future<Output = Result<(Addresses, D), StartError>>,
) -> Result<(), Failure> {
    let mut stop = StopSignals::listen()?;
    let (Addresses { grpc, admin }, drain) = tokio::select! {
        started = start => started.map_err(|error| match error.is_wrong_use() {
            true => Failure::wrong_use(error),
            false => Failure::failed(error),
        })?,
        () = stop.next() => return Ok(()),
    };
    print(&mut std::io::stdout(), &format!("listening grpc={grpc} admin={admin}\n"))?;
    stop.next().await;
    tokio::select! {
        () = drain => {}
        () = stop.next() => tracing::warn!("told to stop again, ending at once"),
    }
    Ok(())
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> Result<StopSignals, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::failed(format_args!("signals: {error}")));
        Ok(StopSignals { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The process, whose log is now written on standard error. Its last lines are when the guard is dropped.
pub(super) fn started(settings: Effective) -> (Process, WorkerGuard) {
    let rules = &settings.config.log;
    let is_coloured = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let (lines, guard) = log::aside(std::io::stderr());
    let made = Log::new(rules.level.as_str(), rules.format == LogFormat::Json, lines, is_coloured);
    // Only a second log in one process fails, and then the first goes on.
    let log =
        made.ok().and_then(|(log, subscriber)| tracing::subscriber::set_global_default(subscriber).ok().map(|()| log));
    (Process { settings, log }, guard)
}
