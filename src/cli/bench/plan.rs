//! What is to be measured, out of flags that were checked.

use std::time::Duration;

use super::flags::BenchArgs;
use super::inputs::Sizes;
use super::load::{Length, Load};
use crate::cli::failure::Failure;
use crate::cli::message::given::Given;
use crate::cli::message::request::{Parameter, Wanted};
use crate::config::Period;

/// Callers of a closed loop where nothing is said.
const CONCURRENCY: usize = 16;

/// How long is measured where nothing is said.
const DURATION: Duration = Duration::from_secs(10);

/// How long is not measured before where nothing is said.
const WARM_UP: Duration = Duration::from_secs(1);

/// Calls in flight on one connection at most where nothing is said of connections. Servers allow some hundred.
const CALLS_ON_ONE: usize = 64;

/// Connections of an open loop where nothing is said.
const OPEN_CONNECTIONS: usize = 4;

/// What is asked of the model, in words that fit any server of it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The model.
    pub model: String,
    /// Its version; empty leaves the choice to the server.
    pub version: String,
    /// Inputs that were given.
    pub inputs: Vec<Given>,
    /// Outputs to ask for; none for all.
    pub outputs: Vec<String>,
    /// Parameters of the request.
    pub parameters: Vec<Parameter>,
    /// The sizes of made-up inputs.
    pub sizes: Sizes,
    /// What all that is random comes from.
    pub seed: u64,
}

impl Asked {
    /// What is asked for beside the inputs.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            model: self.model.clone(),
            version: self.version.clone(),
            outputs: self.outputs.clone(),
            parameters: self.parameters.clone(),
            ..Wanted::default()
        }
    }
}

/// That answers are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Check {
    /// How much floats may differ; what is usual where nothing is said.
    pub tolerance: Option<f64>,
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is asked.
    pub asked: Asked,
    /// How calls are made.
    pub load: Load,
    /// Over how many connections.
    pub connections: usize,
    /// How long.
    pub length: Length,
    /// How long before, without counting; nothing for not at all.
    pub warm_up: Option<Duration>,
    /// The deadline of each call.
    pub deadline: Period,
    /// Within what an answer is a good one, where that was said.
    pub goodput: Option<Duration>,
    /// Whether answers are compared.
    pub check: Option<Check>,
    /// Rounds of a comparison.
    pub rounds: u32,
    /// Threads that make calls.
    pub threads: usize,
}

impl Plan {
    /// Checks what flags mean together.
    ///
    /// # Errors
    /// A wrong use, naming the flag.
    pub fn new(args: &BenchArgs) -> Result<Plan, Failure> {
        let load = load(args);
        let length = length(args)?;
        let usual = if length.calls.is_some() { Duration::ZERO } else { WARM_UP.min(length.time.unwrap_or_default()) };
        let warm_up = args.warmup.map_or(usual, Period::get);
        Ok(Plan {
            asked: asked(args),
            load,
            connections: connections(args, load)?,
            length,
            warm_up: (!warm_up.is_zero()).then_some(warm_up),
            deadline: args.deadline.unwrap_or(args.server.timeout),
            goodput: args.deadline.and_then(Period::unless_zero),
            check: args.check.then_some(Check { tolerance: args.tolerance }),
            rounds: args.rounds,
            threads: args.threads,
        })
    }

    /// The length of one side's part of a round, where two are compared: time is for both, calls are for each.
    pub fn part(&self) -> Length {
        let time = self.length.time.map(|time| time / (2 * self.rounds));
        Length { time, calls: self.length.calls.map(|calls| calls / u64::from(self.rounds)) }
    }
}

fn asked(args: &BenchArgs) -> Asked {
    Asked {
        model: args.model.clone(),
        version: args.model_version.clone(),
        inputs: args.inputs.clone(),
        outputs: args.outputs.clone(),
        parameters: args.parameters.clone(),
        sizes: Sizes { rows: args.rows, dims: args.dims.clone() },
        seed: args.seed,
    }
}

fn load(args: &BenchArgs) -> Load {
    match args.rate {
        Some(rate) => Load::Open { rate, spacing: args.arrivals, most: args.max_outstanding },
        None => Load::Closed { concurrency: args.concurrency.unwrap_or(CONCURRENCY) },
    }
}

fn connections(args: &BenchArgs, load: Load) -> Result<usize, Failure> {
    match (args.connections, load) {
        (Some(connections), Load::Closed { concurrency }) if connections > concurrency => {
            let why = format!("more than the {concurrency} calls in flight, so that some would never be used");
            Err(Failure::wrong_use(format_args!("--connections {connections}: {why}")))
        }
        (Some(connections), _) => Ok(connections),
        (None, Load::Closed { concurrency }) => Ok(concurrency.div_ceil(CALLS_ON_ONE)),
        (None, Load::Open { .. }) => Ok(OPEN_CONNECTIONS),
    }
}

/// Ten seconds where nothing is said; calls alone take as long as they take.
fn length(args: &BenchArgs) -> Result<Length, Failure> {
    let time = match (args.duration, args.calls) {
        (Some(duration), _) if duration == Period::ZERO => {
            return Err(Failure::wrong_use("--duration 0s: nothing is measured in no time"));
        }
        (Some(duration), _) => Some(duration.get()),
        (None, Some(_)) => None,
        (None, None) => Some(DURATION),
    };
    match args.calls {
        Some(calls) if args.vs.is_some() && calls < u64::from(args.rounds) => {
            let why = format!("each of the {} rounds needs one", args.rounds);
            Err(Failure::wrong_use(format_args!("--calls {calls}: {why}, give more or fewer --rounds")))
        }
        calls => Ok(Length { time, calls }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::arrivals::Spacing;
    use crate::cli::bench::flags::tests::parsed;

    fn plan(flags: &[&str]) -> Result<Plan, String> {
        Plan::new(&parsed(flags).unwrap()).map_err(|failure| {
            assert_eq!(failure.code(), 2);
            failure.to_string()
        })
    }

    #[test]
    fn nothing_said_is_a_closed_loop_of_ten_seconds_after_one_of_warming_up() {
        let plan = plan(&[]).unwrap();
        assert_eq!((plan.load, plan.connections), (Load::Closed { concurrency: 16 }, 1));
        assert_eq!(plan.length, Length { time: Some(DURATION), calls: None });
        assert_eq!((plan.warm_up, plan.deadline, plan.goodput), (Some(WARM_UP), Period::seconds(60), None));
    }

    #[test]
    fn counted_calls_have_no_other_end_and_nothing_before_them() {
        let plan = plan(&["--calls", "50"]).unwrap();
        assert_eq!((plan.length, plan.warm_up), (Length { time: None, calls: Some(50) }, None));
    }

    #[test]
    fn a_rate_makes_an_open_loop() {
        let plan = plan(&["--rate", "2.5", "--arrivals", "constant", "--max-outstanding", "7"]).unwrap();
        assert_eq!(plan.load, Load::Open { rate: 2.5, spacing: Spacing::Constant, most: 7 });
        assert_eq!(plan.connections, OPEN_CONNECTIONS);
    }

    #[test]
    fn a_comparison_shares_its_time_and_counts_the_calls_of_each() {
        let plan = plan(&["--vs", "h:1", "--rounds", "5", "--duration", "20s", "--calls", "50"]).unwrap();
        assert_eq!(plan.part(), Length { time: Some(Duration::from_secs(2)), calls: Some(10) });
    }

    #[test]
    fn what_makes_no_sense_together_is_refused_with_the_flag() {
        let refused = |flags| plan(flags).unwrap_err();
        assert!(refused(&["--concurrency", "2", "--connections", "3"]).starts_with("--connections 3: more than the 2"));
        assert!(refused(&["--duration", "0s"]).starts_with("--duration 0s: "));
        assert!(refused(&["--vs", "h:1", "--calls", "9"]).starts_with("--calls 9: each of the 10 rounds"));
    }

    #[test]
    fn more_callers_take_more_connections() {
        assert_eq!(plan(&["--concurrency", "200"]).unwrap().connections, 4);
    }
}
