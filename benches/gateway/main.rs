//! What a call costs through the gateway: against the direct way to the same worker, and against nginx and haproxy, in
//! one run, interleaved, given as ratios.
//!
//! The worker is a stub that gives each tensor back. Every proxy has one core, the same for each, and the load others;
//! on a machine of two cores the load shares its core with the worker. So the gateway has no more of the machine than
//! haproxy with one thread, and its costs are read from the kernel.
//!
//! `--short` sees that it runs; `--profile` shows where the CPU time of calls of each size goes, by `perf`; sizes such as
//! `256B` and `16MiB`, and numbers of calls in flight, leave out the others.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod hop;
mod profile;
mod report;
#[path = "../rig/mod.rs"]
mod rig;
mod rounds;
mod sides;

use std::time::Duration;

use bytes::Bytes;
use infergate::wire::proto::inference::ModelInferRequest;
use infergate::wire::proto::inference::model_infer_request::InferInputTensor;
use prost::Message;

use rig::cores::Cores;
use rig::stub;
use sides::Sides;

const MODEL: &str = "identity";

const SIZES: [(&str, usize); 4] = [("256B", 256), ("16KiB", 16 << 10), ("1MiB", 1 << 20), ("16MiB", 16 << 20)];
const IN_FLIGHT: [usize; 4] = [1, 8, 32, 128];

/// Bytes that the rounds of a case may carry on one way at about a gigabyte a second, before there are fewer of them.
const MANY_BYTES: usize = 1 << 28;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    /// Rounds of each case.
    rounds: usize,
    /// How long each way is loaded in a round.
    time: Duration,
}

impl Effort {
    fn of(short: bool) -> Effort {
        let (rounds, millis) = if short { (3, 100) } else { (15, 400) };
        Effort { rounds, time: Duration::from_millis(millis) }
    }

    /// Fewer rounds where all that is in flight takes longer than a round.
    fn for_case(self, case: &Case) -> Effort {
        let rounds = if case.size * case.in_flight > MANY_BYTES { self.rounds.div_ceil(3) } else { self.rounds };
        Effort { rounds, ..self }
    }
}

/// Calls of one size, so many in flight.
struct Case {
    name: &'static str,
    size: usize,
    in_flight: usize,
}

/// A call whose message has so many bytes.
fn message(bytes: usize) -> Bytes {
    let of = |elements: usize| {
        let input = InferInputTensor {
            name: "x".into(),
            datatype: "UINT8".into(),
            shape: vec![1, elements as i64],
            ..Default::default()
        };
        ModelInferRequest {
            model_name: MODEL.into(),
            inputs: vec![input],
            raw_input_contents: vec![vec![7; elements].into()],
            ..Default::default()
        }
        .encode_to_vec()
    };
    let beside = of(bytes).len() - bytes;
    of(bytes - beside).into()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if arguments.iter().any(|argument| argument == "--be") {
        return runtime.block_on(stub::serve("127.0.0.1", [MODEL.to_owned()].into_iter()));
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let named = |known: &dyn Fn(&str) -> bool| arguments.iter().any(|argument| known(argument));
    let some_size = named(&|argument| SIZES.iter().any(|(name, _)| *name == argument));
    let some_number = named(&|argument| IN_FLIGHT.iter().any(|number| number.to_string() == argument));
    let sizes = SIZES.into_iter().filter(|(name, _)| !some_size || has(name));
    let cases = sizes.flat_map(|(name, size)| IN_FLIGHT.map(|in_flight| Case { name, size, in_flight }));
    let cases = cases.filter(|case| !some_number || has(&case.in_flight.to_string()));
    runtime.block_on(compare(cases.collect(), Effort::of(has("--short")), has("--profile")));
}

async fn compare(cases: Vec<Case>, effort: Effort, profiled: bool) {
    let cores = Cores::share();
    cores.load.take();
    let sides = Sides::start(cores).await;
    println!("the load is on {}, the worker on {}, each proxy on {}", cores.load, cores.behind, cores.measured);
    sides.missing.iter().for_each(|missing| println!("{missing}"));
    report::heading();
    for case in &cases {
        let rounds = rounds::run(&sides, case, effort.for_case(case)).await;
        report::case(case, &sides, &rounds);
    }
    if profiled {
        for size in cases.chunk_by(|one, other| one.size == other.size).map(|of_size| of_size[0].size) {
            profile::show(&sides, size).await;
        }
    }
    drop(sides);
    hop::show(cores, effort.time).await;
}
