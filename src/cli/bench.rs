//! `infergate bench`: loads a model of any server of the Open Inference Protocol with calls, and shows how fast and how
//! well it answers, alone or beside another server. It must never flatter: what is not answered is counted apart, and
//! calls that are due count from then.

mod arrivals;
mod buckets;
mod cpu;
mod draw;
mod inputs;
mod json;
mod load;
mod plan;
mod progress;
mod reference;
mod report;
mod side;
mod statistics;
mod tally;
mod versus;

use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::client::{ServerArgs, Target};
use super::failure::{Failure, print};
use super::json::pretty;
use super::message::given::Given;
use super::message::request::Parameter;
use super::table::width;
use crate::config::Period;
use arrivals::Spacing;
use inputs::DimSize;
use load::Length;
use plan::Plan;
use progress::Progress;
use side::{Measured, Side};
use versus::{Figures, Round, compare};

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
pub(super) struct BenchArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The model to call
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Its version; the server's choice where this is left out
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    model_version: String,
    /// An input, or a file that names its own; may be given several times
    #[arg(long = "input", visible_alias = "inputs", value_name = "NAME=VALUE|NAME=@FILE|@FILE")]
    inputs: Vec<Given>,
    /// The first dimension of made-up inputs where it is free [default: that of given inputs, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    rows: Option<i64>,
    /// The size of an input's free dimensions but the first, or of one, counted from 0; may be given several times
    #[arg(long = "dim", value_name = "NAME[:AXIS]=SIZE")]
    dims: Vec<DimSize>,
    /// An output to ask for, all where this is left out; may be given several times
    #[arg(long = "output", value_name = "NAME")]
    outputs: Vec<String>,
    /// A parameter of the request, such as priority=1; may be given several times
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    parameters: Vec<Parameter>,
    /// A closed loop of so many callers, which is the default [default: 16]
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with = "rate")]
    concurrency: Option<usize>,
    /// An open loop of so many calls in a second
    #[arg(long, value_name = "CALLS/S", value_parser = rate)]
    rate: Option<f64>,
    /// How the times of an open loop's calls are drawn
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Spacing::Poisson, requires = "rate")]
    arrivals: Spacing,
    /// The most calls of an open loop that may be outstanding
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value_t = 1024, requires = "rate")]
    max_outstanding: usize,
    /// Connections that share the calls [default: one for each 64 callers, 4 in an open loop]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    connections: Option<usize>,
    /// How long to measure [default: 10s, or as long as --calls take]
    #[arg(long, value_name = "TIME")]
    duration: Option<Period>,
    /// End after so many calls; of each target where there are two
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    calls: Option<u64>,
    /// How long to make calls before, without counting them [default: 1s, 0s with --calls]
    #[arg(long, value_name = "TIME")]
    warmup: Option<Period>,
    /// The deadline of each call, which also counts the answers within it [default: --timeout, counting nothing]
    #[arg(long, value_name = "TIME")]
    deadline: Option<Period>,
    /// Compare every answer with one that is asked for alone before
    #[arg(long)]
    check: bool,
    /// How much floats may differ from it, absolutely and relatively, 0 for not at all [default: 0.0001, for FP16 0.002,
    /// for BF16 0.02]
    #[arg(long, value_name = "SHARE", value_parser = tolerance, requires = "check")]
    tolerance: Option<f64>,
    /// A server to compare the target with; both are measured in turns
    #[arg(long, value_name = "HOST:PORT")]
    vs: Option<Target>,
    /// Rounds of the comparison, which share --duration
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..), requires = "vs")]
    rounds: u32,
    /// The target's process, where it runs on this machine, to count its CPU
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// The process of the server that it is compared with
    #[arg(long, value_name = "PID", requires = "vs")]
    vs_pid: Option<u32>,
    /// What made-up inputs and random times come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads that make calls
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value_t = 1)]
    threads: usize,
    /// Answer in JSON, times in microseconds
    #[arg(long)]
    json: bool,
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

impl BenchArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let plan = Plan::new(self)?;
        let mut builder = match self.threads {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.worker_threads(self.threads).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(format_args!("no runtime: {error}")))?;
        runtime.block_on(self.bench(&plan, &mut std::io::stdout()))
    }

    async fn bench(&self, plan: &Plan, out: &mut impl Write) -> Result<(), Failure> {
        let progress = Progress::start();
        let target = progress.unless_stopped(Side::connect(self.server.clone(), self.pid, plan)).await?;
        match &self.vs {
            None => self.alone(plan, target, &progress, out).await,
            Some(vs) => {
                let server = ServerArgs { target: vs.clone(), ..self.server.clone() };
                let vs = progress.unless_stopped(Side::connect(server, self.vs_pid, plan)).await?;
                self.compared(plan, [target, vs], &progress, out).await
            }
        }
    }

    async fn alone(
        &self,
        plan: &Plan,
        mut target: Side,
        progress: &Progress,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        warm_up(plan, &mut target, progress).await;
        progress.name(String::new());
        let measured = target.measure(plan, plan.length, plan.asked.seed, progress).await;
        progress.finish();
        if self.json {
            let mut object = json::plan(plan);
            object.insert("interrupted".into(), progress.is_stopped().into());
            object.extend(json::measured(&target.target(), plan, &measured));
            print(out, &pretty(&object.into()))?;
        } else {
            let title = report::title(plan, &target.target());
            let whole = report::whole(plan, &measured, width());
            print(out, &format!("{title}, {}\n\n{whole}", took(&measured, progress)))?;
        }
        verdict(&target, &measured)
    }

    async fn compared(
        &self,
        plan: &Plan,
        mut sides: [Side; 2],
        progress: &Progress,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        for side in &mut sides {
            warm_up(plan, side, progress).await;
        }
        let (rounds, measured) = in_turns(plan, &mut sides, progress).await;
        progress.finish();
        let compared = compare(&rounds);
        if self.json {
            let mut object = json::plan(plan);
            object.insert("interrupted".into(), progress.is_stopped().into());
            object.extend(json::versus(&rounds, &compared));
            for (key, side, measured) in [("target", &sides[0], &measured[0]), ("vs", &sides[1], &measured[1])] {
                object.insert(key.into(), Value::Object(json::measured(&side.target(), plan, measured)));
            }
            print(out, &pretty(&object.into()))?;
        } else {
            let names = format!("{} vs {}", sides[0].target(), sides[1].target());
            let title = format!("{}, {} rounds", report::title(plan, &names), rounds.len());
            let mut text = format!("{title}\n\n{}", report::ratios(&compared));
            for ((who, side), measured) in ["target", "vs"].iter().zip(&sides).zip(&measured) {
                let counts = report::counts(plan, measured);
                let failures = report::failures(measured);
                let gap = if failures.is_empty() { "" } else { "\n" };
                let took = took(measured, progress);
                text += &format!("\n{who} {}, {took}\n\n{counts}{gap}{failures}", side.target());
            }
            print(out, &text)?;
        }
        verdict(&sides[0], &measured[0]).and(verdict(&sides[1], &measured[1]))
    }
}

async fn warm_up(plan: &Plan, side: &mut Side, progress: &Progress) {
    if let Some(time) = plan.warm_up {
        progress.name(format!("warming up {}  ", side.target()));
        let length = Length { time: Some(time), calls: None };
        side.measure(plan, length, plan.asked.seed, progress).await;
    }
}

/// Measures both in each round, the one that was last in the round before first; gives the rounds and each one's sum.
async fn in_turns(plan: &Plan, sides: &mut [Side; 2], progress: &Progress) -> (Vec<Round>, [Measured; 2]) {
    let mut rounds = Vec::new();
    let mut sums = [Measured::default(), Measured::default()];
    for round in 0..plan.rounds {
        let mut figures = [None, None];
        let target_first = round % 2 == 0;
        for side in if target_first { [0, 1] } else { [1, 0] } {
            let name = format!("round {} of {}  {}  ", round + 1, plan.rounds, sides[side].target());
            progress.name(name);
            // The same times for both, and others in each round.
            let seed = plan.asked.seed.wrapping_add(round.into());
            let measured = sides[side].measure(plan, plan.part(), seed, progress).await;
            figures[side] = Some(Figures::of(&measured));
            sums[side].add(&measured);
        }
        match figures {
            // A round that was cut short compares nothing.
            [Some(target), Some(vs)] if !progress.is_stopped() => rounds.push(Round { target, vs, target_first }),
            _ => break,
        }
    }
    (rounds, sums)
}

fn took(measured: &Measured, progress: &Progress) -> String {
    let ended = if progress.is_stopped() { ", interrupted" } else { "" };
    format!("{:.1} s{ended}", measured.took.as_secs_f64())
}

/// What the exit code says: whether anything was answered, and all of it as the reference.
fn verdict(side: &Side, measured: &Measured) -> Result<(), Failure> {
    let (tally, target) = (&measured.tally, side.target());
    if let Some(difference) = &tally.difference {
        let (different, answered) = (tally.different, tally.answered());
        let what = format!("{different} of {answered} answers from {target} are unlike the reference");
        return Err(Failure::failed(format_args!("{what}, the first: {difference}")));
    }
    match tally.failures().next() {
        Some((code, failures)) if tally.answered() == 0 => {
            Err(Failure::failed(format_args!("{target} answered none of the calls: {} ({code})", failures.sample)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        bench: BenchArgs,
    }

    /// The flags of a call of model `m`.
    pub(super) fn parsed(flags: &[&str]) -> Result<BenchArgs, clap::Error> {
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
