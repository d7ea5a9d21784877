//! `infergate bench`: loads a model of any server of the Open Inference Protocol with calls, and shows how fast and how
//! well it answers, alone or beside another server. It must never flatter: what is not answered is counted apart, and
//! calls that are due count from then.

mod arrivals;
mod buckets;
mod cpu;
mod draw;
mod flags;
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

use serde_json::Value;

use super::client::ServerArgs;
use super::failure::{Failure, print};
use super::json::pretty;
use super::table::width;
pub(super) use flags::BenchArgs;
use load::Length;
use plan::Plan;
use progress::Progress;
use side::{Measured, Side};
use versus::{Figures, Round, compare};

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
            let title = format!("{} vs {}", sides[0].target(), sides[1].target());
            let mut text = report::versus(plan, &title, &rounds, &compared);
            for ((who, side), measured) in ["target", "vs"].iter().zip(&sides).zip(&measured) {
                let took = took(measured, progress);
                text += &format!("\n{who} {}, {took}\n\n{}", side.target(), report::brief(plan, measured));
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
