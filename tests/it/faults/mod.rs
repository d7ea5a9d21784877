//! A gateway's roster and its backends on a simulated network, in virtual time, while links and hosts fail. What must hold
//! does so for every seed; one that fails is told, and those that found something once are kept in [`FOUND`].
//!
//! `INFERGATE_SEEDS=200` tries so many.

mod network;
mod weather;

use network::{Model, Outcome, Told};
use weather::Weather;

/// Seeds that are tried where nothing else is said: few, since each takes seconds.
const SEEDS: u64 = 2;

/// Seeds that have found something: 3, that a backend that was back got no calls for most of a minute.
const FOUND: [u64; 1] = [3];

fn seeds() -> impl Iterator<Item = u64> {
    let count = std::env::var("INFERGATE_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    (1..=count).chain(FOUND.into_iter().filter(move |found| *found > count))
}

/// Tells which seed it was where something does not hold.
fn each_seed(holds: impl Fn(u64) -> Result<(), String>) {
    let failed: Vec<String> =
        seeds().filter_map(|seed| holds(seed).err().map(|what| format!("seed {seed}: {what}"))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// What holds whatever the model is like.
fn always(told: &Told, weather: &Weather) -> Result<(), String> {
    require(told.outcomes.len() == told.calls, || format!("{} of {} calls ended", told.outcomes.len(), told.calls))?;
    let slack = std::time::Duration::from_millis(10);
    let late: Vec<&Outcome> = told.outcomes.iter().filter(|end| end.at > end.deadline + slack).collect();
    require(late.is_empty(), || format!("ended after their deadlines: {late:?}"))?;
    let calm = weather.calm();
    let failed: Vec<&Outcome> = told.outcomes.iter().filter(|end| end.began >= calm && end.failed.is_some()).collect();
    require(failed.is_empty(), || format!("failed long after the last fault: {failed:?}\n{weather:?}"))?;
    let strayed: Vec<_> = told.runs.iter().filter(|run| weather.is_removed(run.backend, run.at)).collect();
    require(strayed.is_empty(), || format!("sent to a backend that was taken away: {strayed:?}\n{weather:?}"))?;
    let idle: Vec<usize> = (0..network::BACKENDS)
        .filter(|backend| !weather.was_slow(*backend))
        .filter(|backend| !told.runs.iter().any(|run| run.backend == *backend && run.at >= calm))
        .collect();
    require(idle.is_empty(), || format!("no calls any more for {idle:?}: {}\n{weather:?}", told.seen))
}

#[test]
fn whatever_fails_calls_end_in_time_and_once_and_all_is_well_soon_after() {
    each_seed(|seed| {
        let weather = Weather::of(seed);
        let told = network::run(seed, &weather, Model::Pure);
        always(&told, &weather)?;
        let most = told.calls as f64 * 1.2 + 100.0;
        require(told.runs.len() as f64 <= most, || format!("{} runs of {} calls", told.runs.len(), told.calls))?;
        let failed = told.outcomes.iter().filter(|end| end.failed.is_some()).count();
        require(failed * 5 <= told.calls, || format!("{failed} of {} calls failed", told.calls))
    });
}

#[test]
fn whatever_fails_a_call_of_a_model_that_must_run_once_runs_once_at_most() {
    each_seed(|seed| {
        let weather = Weather::of(seed);
        let told = network::run(seed, &weather, Model::Impure);
        always(&told, &weather)?;
        let mut numbers: Vec<u32> = told.runs.iter().map(|run| run.call).collect();
        numbers.sort();
        let twice: Vec<u32> = numbers.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        require(twice.is_empty(), || format!("ran twice: {twice:?}\n{weather:?}"))
    });
}
