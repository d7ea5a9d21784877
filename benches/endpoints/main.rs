//! What a large fleet costs a gateway: 2 000 endpoints of one Service, each with 200 models. Memory, CPU at rest, the cost
//! of an update, and the longest pause that the data path sees while there are updates.
//!
//! The roster is the real one over real HTTP/2, but its connections are pipes within this process, to backends that know
//! nothing but the answer to what they serve. The roster has one thread, the backends another: what else is ready to run
//! on the roster's thread waits as long as the calls of a gateway with one core would. `--short` takes a tenth of the
//! endpoints.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::disallowed_methods, reason = "what is measured goes on while the one that measures sleeps")]

mod backends;
mod fleet;
mod pauses;

use std::time::Duration;

use fleet::Fleet;
use pauses::{Picks, Turns};

const ENDPOINTS: usize = 2000;
const MODELS: usize = 200;

/// Updates of each kind.
const UPDATES: usize = 20;

/// How long the data path is watched while nothing changes.
const REST: Duration = Duration::from_secs(2);

fn main() {
    let short = std::env::args().any(|argument| argument == "--short");
    let endpoints = if short { ENDPOINTS / 10 } else { ENDPOINTS };
    let empty = resident();
    let mut fleet = Fleet::of(endpoints);
    fleet.serve(1);
    let connected = resident();
    println!(
        "{endpoints} endpoints, connected, one model: {} MiB, the backends' ends among them",
        mib(connected - empty)
    );
    fleet.serve(MODELS);
    let full = resident();
    let each = (full - connected) as f64 / (endpoints * (MODELS - 1)) as f64;
    println!(
        "{MODELS} models at each: {} MiB more, {each:.0} bytes for each model of each endpoint",
        mib(full - connected)
    );

    println!("at rest: {:.1} % of a core", fleet.share(REST) * 100.0);
    let picks = Picks::start(fleet.roster().clone());
    let turns = Turns::start(&fleet);
    std::thread::sleep(REST);
    println!("at rest: longest pick {}, longest pause of the roster's thread {}", picks.taken(), turns.taken());

    for (what, update) in [
        ("an endpoint comes, another goes", Fleet::exchange_one as fn(&mut Fleet)),
        ("an endpoint is leaving, or no longer", Fleet::turn_one),
    ] {
        let mut took = Vec::new();
        picks.taken();
        turns.taken();
        for _ in 0..UPDATES {
            let before = std::time::Instant::now();
            update(&mut fleet);
            took.push(before.elapsed().as_secs_f64() * 1e3);
            std::thread::sleep(Duration::from_millis(50));
        }
        took.sort_by(f64::total_cmp);
        println!(
            "{what}: in the table after {:.1} ms ({:.1} to {:.1}); longest pick {}, longest pause of the roster's thread {}",
            took[took.len() / 2],
            took[0],
            took[took.len() - 1],
            picks.taken(),
            turns.taken()
        );
    }
    println!("after {} updates: {} MiB in all", 2 * UPDATES, mib(resident() - empty));
}

fn mib(bytes: usize) -> usize {
    bytes >> 20
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}
