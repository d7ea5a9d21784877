//! The commands.

mod bench;
mod check;
mod client;
mod endpoints;
mod failure;
mod gateway;
mod json;
mod message;
mod models;
mod predict;
mod serve;
mod signature;
#[cfg(test)]
mod stub;
mod table;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::compute::session::Runtime;
use failure::{Failure, exit, print};

/// Serves ONNX models over gRPC: the Open Inference Protocol and TensorFlow Serving's, on one port.
#[derive(Debug, Parser)]
#[command(name = "infergate", disable_version_flag = true, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// Print the version, and that of the ONNX Runtime that is found
    #[arg(short = 'V', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  infergate serve --models models/          serve DIR/<model>/<version>/model.onnx
  infergate serve my.onnx                   serve one file
  infergate gateway --backend host:8001     spread calls over workers
  infergate endpoints                       what a gateway knows of them
  infergate models                          what is served
  infergate predict --model digits --input image=@seven.npy --classes 3
  infergate bench --model digits            how fast it answers";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve models, all in one process
    Serve(serve::ServeArgs),
    /// Serve models as a worker behind gateways
    Worker(serve::WorkerArgs),
    /// Find workers and spread calls over them
    Gateway(gateway::GatewayArgs),
    /// Show a gateway's endpoints: their states, their models, how busy they are
    Endpoints(endpoints::EndpointsArgs),
    /// Check a configuration and a repository without serving
    Check(check::CheckArgs),
    /// Show what a server serves
    Models(models::ModelsArgs),
    /// Run a model once and show its answer and where the time went
    Predict(predict::PredictArgs),
    /// Load a model with calls and show how fast it answers
    Bench(Box<bench::BenchArgs>),
}

/// Where a configuration comes from.
#[derive(Debug, Args)]
struct SourceArgs {
    /// A configuration file; infergate.example.toml has every key
    #[arg(long, value_name = "FILE", env = "INFERGATE_CONFIG")]
    config: Option<std::path::PathBuf>,
    /// Set any key of the configuration, such as limits.in_flight=64; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// Where a configuration comes from, for the commands that need models.
#[derive(Debug, Args)]
struct ConfigArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The folder of models, DIR/<model>/<version>/model.onnx
    #[arg(long, value_name = "DIR")]
    models: Option<std::path::PathBuf>,
    /// One model file to serve instead of a folder
    #[arg(value_name = "MODEL.onnx", conflicts_with = "models")]
    model: Option<std::path::PathBuf>,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        _ if cli.version => exit(print(&mut std::io::stdout(), &version())),
        Some(Command::Serve(args)) => exit(args.run()),
        Some(Command::Worker(args)) => exit(args.run()),
        Some(Command::Gateway(args)) => exit(args.run()),
        Some(Command::Endpoints(args)) => exit(args.run()),
        Some(Command::Check(args)) => exit(args.run()),
        Some(Command::Models(args)) => exit(args.run()),
        Some(Command::Predict(args)) => exit(args.run()),
        Some(Command::Bench(args)) => exit(args.run()),
        None => {
            // As clap does for a wrong use: the help on standard error, and its code.
            let _ = print(&mut std::io::stderr(), &Cli::command().render_help().to_string());
            ExitCode::from(2)
        }
    }
}

fn version() -> String {
    let runtime = match Runtime::load() {
        Ok(runtime) => format!("ONNX Runtime {}", runtime.version()),
        Err(error) => error.to_string(),
    };
    format!("infergate {} ({runtime})\n", env!("CARGO_PKG_VERSION"))
}

/// An asynchronous runtime with as many threads as there are CPUs to use.
fn asynchronous(cpus: usize) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(cpus).enable_all().build();
    built.map_err(|error| Failure::failed(format_args!("no threads to run on: {error}")))
}
