//! What callers see while a cluster is restarted, killed and frozen under load: two gateways and five workers as
//! processes, calls at 80 % of what they can do, and a ledger with the end of every call.
//!
//! `cargo bench --bench rehearsal [-- SCENARIO …] [--times N] [--load SHARE] [--short]`. Exits with 1 where a caller saw
//! an error or a call did not end exactly once; the times are told with their bounds.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod client;
mod cluster;
mod load;
mod report;
mod scenario;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use cluster::Cluster;
use load::{Ledger, Load};
use report::{Compared, Event, Report};
use scenario::Scenario;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

const WORKERS: usize = 5;
const GATEWAYS: usize = 2;
/// The share of calls that may take more than a second while a worker is frozen.
const SLOW: f64 = 0.0005;
/// So soon after a worker was killed the calls are at most so many times as slow as without that.
const BACK: f64 = 1.1;

struct Effort {
    scenarios: Vec<Scenario>,
    times: usize,
    load: f64,
    /// The time between two events.
    quiet: Duration,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(at + 1).unwrap_or_else(|| panic!("{name} needs a value")).clone())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some(role) = value("--be") {
        runtime.block_on(worker::serve(&role));
        return ExitCode::SUCCESS;
    }
    let short = arguments.iter().any(|argument| argument == "--short");
    let is_named = |scenario: &Scenario| arguments.iter().any(|argument| argument == scenario.name());
    let named: Vec<Scenario> = Scenario::ALL.into_iter().filter(is_named).collect();
    let number = |name: &str, default: f64| value(name).map_or(default, |text| text.parse().expect("a number"));
    let effort = Effort {
        scenarios: if named.is_empty() { Scenario::ALL.into() } else { named },
        times: (number("--times", if short { 3.0 } else { 50.0 }) as usize).max(1),
        load: number("--load", 0.8),
        quiet: Duration::from_millis(if short { 1000 } else { 2500 }),
    };
    let flawless = runtime.block_on(async {
        // Told to end, it ends its processes, frozen ones too.
        let [mut terminate, mut interrupt] =
            [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| signal(kind).expect("signals"));
        tokio::select! {
            flawless = rehearse(&effort) => flawless,
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
        }
    });
    if flawless { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether no caller saw an error.
async fn rehearse(effort: &Effort) -> bool {
    let mut cluster = Cluster::start(WORKERS, GATEWAYS).await;
    let client = Client::connect(cluster.gateways.iter().map(|gateway| gateway.address.clone())).await;
    let client = Arc::new(client);
    let mut flawless = true;
    for scenario in &effort.scenarios {
        flawless &= rehearse_one(*scenario, effort, &mut cluster, &client).await;
    }
    flawless
}

async fn rehearse_one(scenario: Scenario, effort: &Effort, cluster: &mut Cluster, client: &Arc<Client>) -> bool {
    // Some more than there are workers, so that none is idle; a queue of more tells nothing new.
    let peak = load::peak(client, WORKERS * 4, Duration::from_secs(1)).await;
    let rate = peak * effort.load;
    println!("{}, {} times, {rate:.0} calls/s of {peak:.0}", scenario.title(), effort.times);
    let (load, resent) = (Load::start(client.clone(), rate), client.resent());
    let mut events: Vec<Event> = Vec::new();
    for number in 0..effort.times {
        sleep(effort.quiet).await;
        events.push(scenario.perform(number, cluster, client, &load).await);
    }
    sleep(effort.quiet).await;
    let lasted = load.now();
    let (ledger, sent) = load.end().await;
    let unbalanced = ledger.unbalanced(sent);
    let (failed, resent) = (ledger.failed(), client.resent() - resent);
    println!(
        "  {sent} calls, {failed} errors, {unbalanced} without exactly one end, {resent} sent again by the client"
    );
    for (why, (count, at)) in &ledger.wrong {
        println!("  {count} x {why} (first after {:.2} s)", at.as_secs_f64());
    }
    let control = if scenario == Scenario::Kill { Some(undisturbed(client, rate, lasted).await) } else { None };
    tell(scenario, &Report::of(&ledger, control.as_ref(), &events), sent);
    failed + unbalanced == 0
}

/// What becomes of the same calls while nothing happens.
async fn undisturbed(client: &Arc<Client>, rate: f64, time: Duration) -> Ledger {
    println!("  the same calls while nothing happens, {:.0} s", time.as_secs_f64());
    let load = Load::start(client.clone(), rate);
    sleep(time).await;
    load.end().await.0
}

fn tell(scenario: Scenario, report: &Report, sent: u64) {
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    let Report { before, during, after, buckets, quiet, later, slow, whole: (median, longest) } = report;
    println!("  everything as before after {median:.2} s, {longest:.2} s at most");
    println!("  p99 before {before:.1} ms, during {during:.1} ms, after {after:.1} ms");
    let spans = |spans: &[f64]| spans.iter().map(|p99| format!("{p99:.0}")).collect::<Vec<_>>().join(" ");
    println!("  p99 by 100 ms from the event on: {}", spans(buckets));
    if !quiet.is_empty() {
        println!("  the same while nothing happens:  {}", spans(quiet));
    }
    let share = *slow as f64 / sent.max(1) as f64;
    let told = format!("  over 1 s: {slow}, {:.4} %", share * 100.0);
    match scenario {
        Scenario::Freeze => println!("{told}, bound 0.05 %: {}", verdict(share <= SLOW)),
        _ => println!("{told}"),
    }
    if let Some(Compared { ratio, low, high }) = later {
        let since = report::BACK.as_millis();
        let told = format!("  p99 from {since} ms on by that of the same calls while nothing happens: {ratio:.2}");
        println!("{told} ({low:.2} to {high:.2}), bound {BACK}: {}", verdict(*ratio <= BACK));
    }
}
