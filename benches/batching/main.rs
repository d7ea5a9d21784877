//! What batching is worth: `infergate serve` with it against without it, against bare ONNX Runtime and bare tonic, in
//! one run, interleaved, given as ratios.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod bare;
mod calls;
mod overload;
mod repository;
#[path = "../rig/mod.rs"]
mod rig;
mod scripted;
mod serving;
mod statistics;

use rig::floor::Floor;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Rounds of each comparison.
    pub rounds: usize,
    /// How long each side of a round is loaded.
    pub time: std::time::Duration,
}

impl Effort {
    /// As much in more and shorter rounds, for a comparison with what runs in another process: the machine's own speed
    /// changes from second to second.
    pub fn in_short_rounds(self) -> Effort {
        Effort { rounds: self.rounds * 4, time: self.time / 4 }
    }
}

/// CPUs of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = |threads: usize| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads).enable_all().build().expect("a runtime")
    };
    if let Some(at) = arguments.iter().position(|argument| argument == "--be") {
        let (role, threads) = (&arguments[at + 1], cores());
        return runtime(threads).block_on(async {
            match role.as_str() {
                "echo" => Floor::echo().serve().await,
                role => scripted::serve(role).await,
            }
        });
    }
    let short = arguments.iter().any(|argument| argument == "--short");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name);
    let millis = std::time::Duration::from_millis;
    let effort =
        if short { Effort { rounds: 3, time: millis(300) } } else { Effort { rounds: 15, time: millis(1500) } };
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    single.block_on(async {
        if is_wanted("mlp") {
            serving::on_against_off(effort).await;
            serving::against_the_floor(effort).await;
        }
        if is_wanted("cnn") {
            serving::against_bare("cnn", calls::cnn(), effort).await;
        }
        if is_wanted("encoder") {
            serving::against_bare("encoder", calls::encoder([64].into_iter()), effort).await;
        }
        if is_wanted("lengths") {
            serving::lengths_scripted(effort).await;
            serving::lengths_of_the_encoder(effort).await;
        }
        if is_wanted("overload") {
            overload::scripted(effort).await;
            overload::encoder(effort).await;
        }
    });
}
