//! `infergate serve`: one process with everything in it, until it is told to stop.

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::failure::{Failure, print};
use super::{ConfigArgs, asynchronous};
use crate::compute::plan;
use crate::compute::session::Runtime;
use crate::config::{Config, LogFormat, Overrides, variables};
use crate::role::{Addresses, Server, StartError, onnx_runtime};

/// Flags of `infergate serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where calls are taken; port 0 takes a free one [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where probes are answered [default: 127.0.0.1:8002]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

impl ConfigArgs {
    /// The configuration out of file, environment and flags.
    pub(super) fn load(&self, overrides: Overrides) -> Result<Config, Failure> {
        let path = |path: &std::path::PathBuf| path.display().to_string();
        let mut overrides = overrides.flag("--models", "models", self.models.as_ref().map(path)).flag(
            "MODEL.onnx",
            "models",
            self.model.as_ref().map(path),
        );
        for setting in &self.settings {
            let Some((key, value)) = setting.split_once('=') else {
                return Err(Failure::wrong_use(format_args!("--set {setting}: expected KEY=VALUE")));
            };
            overrides = overrides.flag("--set", key, Some(value));
        }
        // The variable that names the file is no key of the configuration.
        let variables = variables().filter(|(name, _)| name != "INFERGATE_CONFIG");
        Config::load(self.config.as_deref(), variables, overrides).map_err(Failure::wrong_use)
    }
}

impl ServeArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let flags = Overrides::default().flag("--listen", "listen", self.listen.as_ref()).flag(
            "--admin",
            "admin",
            self.admin.as_ref(),
        );
        let config = self.config.load(flags)?;
        if config.models.is_none() {
            return Err(Failure::wrong_use(StartError::NoModels));
        }
        log(&config);
        let runtime = Runtime::load().map_err(Failure::failed)?;
        let cpus = config.compute.cpus.unwrap_or_else(plan::cpus);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), onnxruntime = runtime.version(), cpus, "starting");
        let threads = asynchronous(cpus)?;
        let served = threads.block_on(serve(&config, runtime));
        // A model that is still loading keeps nobody waiting.
        threads.shutdown_background();
        served
    }
}

async fn serve(config: &Config, runtime: Runtime) -> Result<(), Failure> {
    let mut stop = StopSignals::listen()?;
    let server = tokio::select! {
        started = Server::start(config, onnx_runtime(runtime)) => started.map_err(Failure::failed)?,
        () = stop.next() => return Ok(()),
    };
    let Addresses { grpc, admin } = server.addresses();
    print(&mut std::io::stdout(), &format!("listening grpc={grpc} admin={admin}\n"))?;
    stop.next().await;
    tokio::select! {
        () = server.drain() => {}
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

/// Starts the log on standard error.
pub(super) fn log(config: &Config) {
    let filter = EnvFilter::new(config.log.level.as_str());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only a second log in one process fails, and then the first goes on.
    let _ = match config.log.format {
        LogFormat::Text => subscriber.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
}
