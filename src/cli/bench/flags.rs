//! The flags of `infergate bench`, each with what it allows.

use clap::Args;

use super::arrivals::Spacing;
use super::inputs::DimSize;
use crate::cli::client::{ServerArgs, Target};
use crate::cli::message::given::Given;
use crate::cli::message::request::Parameter;
use crate::config::Period;

const EXAMPLES: &str = "\
A closed loop (--concurrency) shows what a server can do: each caller waits for its answer and calls again. An open loop \
(--rate) shows what callers see who come at their own times: each call counts from when it was due, whatever became of \
those before, and a call that finds --max-outstanding of them is counted as not sent.

Inputs that are not given are made up by --seed: floats from 0 to 1, integers 0 or 1, short words. A first dimension that \
is free is --rows; any other free one is to be said by --dim.

One call is made before anything is measured, and a warm-up follows. Times are of calls that were answered. Batch sizes \
come from the server's ModelStatistics, where it has them, and count whoever else called. Ctrl-C ends the run and shows \
what was measured.

Exit codes: 0 done; 1 not reached, nothing answered, or an answer unlike the reference; 2 wrong use.

Examples:
  infergate bench --model digits --concurrency 32
  infergate bench --model digits --rate 500 --deadline 50ms --duration 60s
  infergate bench --model language --rows 4 --dim bytes=128
  infergate bench --model digits --input image=@seven.npy --calls 10000 --check --json
  infergate bench --model digits --target 10.0.0.1:8001 --vs 10.0.0.2:8001 --duration 60s";

/// Flags of `infergate bench`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// The model to call
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// Its version; the server's choice where this is left out
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    pub model_version: String,
    /// An input, or a file that names its own; may be given several times
    #[arg(long = "input", visible_alias = "inputs", value_name = "NAME=VALUE|NAME=@FILE|@FILE")]
    pub inputs: Vec<Given>,
    /// The first dimension of made-up inputs where it is free [default: that of given inputs, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub rows: Option<i64>,
    /// The size of an input's free dimensions but the first, or of one, counted from 0; may be given several times
    #[arg(long = "dim", value_name = "NAME[:AXIS]=SIZE")]
    pub dims: Vec<DimSize>,
    /// An output to ask for, all where this is left out; may be given several times
    #[arg(long = "output", value_name = "NAME")]
    pub outputs: Vec<String>,
    /// A parameter of the request, such as priority=1; may be given several times
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    pub parameters: Vec<Parameter>,
    /// A closed loop of so many callers, which is the default [default: 16]
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with = "rate")]
    pub concurrency: Option<usize>,
    /// An open loop of so many calls in a second
    #[arg(long, value_name = "CALLS/S", value_parser = rate)]
    pub rate: Option<f64>,
    /// How the times of an open loop's calls are drawn
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Spacing::Poisson, requires = "rate")]
    pub arrivals: Spacing,
    /// The most calls of an open loop that may be outstanding
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value_t = 1024, requires = "rate")]
    pub max_outstanding: usize,
    /// Connections that share the calls [default: one for each 64 callers, 4 in an open loop]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub connections: Option<usize>,
    /// How long to measure [default: 10s, or as long as --calls take]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Period>,
    /// End after so many calls; of each target where there are two
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub calls: Option<u64>,
    /// How long to make calls before, without counting them [default: 1s, 0s with --calls]
    #[arg(long, value_name = "TIME")]
    pub warmup: Option<Period>,
    /// The deadline of each call, which also counts the answers within it [default: --timeout, counting nothing]
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<Period>,
    /// Compare every answer with one that is asked for alone before
    #[arg(long)]
    pub check: bool,
    /// How much floats may differ from it, absolutely and relatively, 0 for not at all [default: 0.0001, for FP16 0.002,
    /// for BF16 0.02]
    #[arg(long, value_name = "SHARE", value_parser = tolerance, requires = "check")]
    pub tolerance: Option<f64>,
    /// A server to compare the target with; both are measured in turns
    #[arg(long, value_name = "HOST:PORT")]
    pub vs: Option<Target>,
    /// Rounds of the comparison, which share --duration
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..), requires = "vs")]
    pub rounds: u32,
    /// The target's process, where it runs on this machine, to count its CPU
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// The process of the server that it is compared with
    #[arg(long, value_name = "PID", requires = "vs")]
    pub vs_pid: Option<u32>,
    /// What made-up inputs and random times come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Threads that make calls
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value_t = 1)]
    pub threads: usize,
    /// Answer in JSON, times in microseconds
    #[arg(long)]
    pub json: bool,
}

fn at_least_one(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|number| (1..=1 << 20).contains(number)).ok_or("a whole number from 1 to 1048576")
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| (1e-3..=1e7).contains(rate)).ok_or("calls in a second, from 0.001 to 10000000")
}

fn tolerance(text: &str) -> Result<f64, &'static str> {
    let tolerance: Option<f64> = text.parse().ok();
    tolerance.filter(|tolerance| (0.0..=1.0).contains(tolerance)).ok_or("a number from 0 to 1, such as 1e-4")
}

#[cfg(test)]
pub mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::bench::plan::Plan;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        bench: BenchArgs,
    }

    /// The flags of a call of model `m`.
    pub fn parsed(flags: &[&str]) -> Result<BenchArgs, clap::Error> {
        let flags = ["bench", "--model", "m"].iter().chain(flags);
        Command::try_parse_from(flags).map(|command| command.bench)
    }

    #[test]
    fn flags_that_contradict_one_another_or_mean_nothing_are_refused() {
        for flags in [
            &["--concurrency", "2", "--rate", "5"][..],
            &["--arrivals", "constant"],
            &["--max-outstanding", "5"],
            &["--concurrency", "0"],
            &["--rate", "0"],
            &["--rate", "NaN"],
            &["--duration", "10"],
            &["--rounds", "3"],
            &["--vs-pid", "3"],
            &["--tolerance", "0"],
            &["--check", "--tolerance", "2"],
            &["--dim", "x"],
            &["--calls", "0"],
        ] {
            assert!(parsed(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn the_command_line_of_the_examples_is_one() {
        for line in EXAMPLES.lines().filter_map(|line| line.strip_prefix("  infergate ")) {
            let parsed = Command::try_parse_from(line.split(' '));
            assert!(parsed.is_ok_and(|command| Plan::new(&command.bench).is_ok()), "{line}");
        }
    }
}
