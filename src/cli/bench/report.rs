//! What was measured, as text for a terminal.

use hdrhistogram::Histogram;

use super::draw::draw;
use super::load::Load;
use super::plan::Plan;
use super::side::Measured;
use super::statistics::{Spent, Statistics};
use super::versus::{Compared, Round, Spread};
use crate::cli::table::{cut, plain, table};

/// The most characters of a failure's message.
const SAMPLE: usize = 100;

/// The share of its threads from which on the generator may be what limits the rate.
const BUSY: f64 = 0.9;

/// The quantiles that are told, with their names for people and for programs.
pub const QUANTILES: [(&str, &str, f64); 4] =
    [("P50 ", "p50", 0.5), ("P90 ", "p90", 0.9), ("P99 ", "p99", 0.99), ("P99.9 ", "p999", 0.999)];

/// Nanoseconds as milliseconds to the microsecond.
pub fn ms(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}

/// What is asked of whom, and how.
pub fn title(plan: &Plan, targets: &str) -> String {
    let connections = match plan.connections {
        1 => "one connection".to_owned(),
        connections => format!("{connections} connections"),
    };
    let load = match plan.load {
        Load::Closed { concurrency } => format!("{concurrency} in flight"),
        Load::Open { rate, spacing, .. } => format!("{rate} calls/s, {}", spacing.name()),
    };
    format!("{} at {targets}: {load} over {connections}", plain(&plan.asked.model))
}

/// One server's run in full: counts, times and their distribution, failures, and what the server tells.
pub fn whole(plan: &Plan, measured: &Measured, width: usize) -> String {
    let parts = [
        counts(plan, measured),
        latency(plan, measured),
        draw(&measured.tally.latency, width),
        failures(measured),
        measured.statistics.as_ref().map_or_else(String::new, statistics),
        cpu(measured),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

/// One server's run in short: counts and failures.
pub fn brief(plan: &Plan, measured: &Measured) -> String {
    let parts = [counts(plan, measured), failures(measured)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What became of the calls of one server.
fn counts(plan: &Plan, measured: &Measured) -> String {
    let tally = &measured.tally;
    let mut rows = vec![("answered".to_owned(), tally.answered())];
    rows.extend(plan.goodput.is_some().then(|| (format!("within {}", plan.deadline), tally.in_time)));
    rows.extend(plan.check.is_some().then(|| ("unlike the reference".to_owned(), tally.different)));
    rows.push(("failed".to_owned(), tally.failed()));
    let is_open = matches!(plan.load, Load::Open { .. });
    rows.extend(is_open.then(|| ("not sent".to_owned(), tally.not_sent)));
    rows.extend((tally.given_up() > 0).then(|| ("given up".to_owned(), tally.given_up())));
    let cells = |(what, count)| [what, u64::to_string(&count), format!("{:.1}", measured.per_second(count))];
    table(["CALLS", "COUNT ", "PER SECOND "], rows.into_iter().map(cells))
}

fn latency(plan: &Plan, measured: &Measured) -> String {
    let tally = &measured.tally;
    let mut rows = Vec::new();
    let what = if tally.lateness.is_empty() { "to the answer" } else { "due to the answer" };
    rows.extend((!tally.latency.is_empty()).then(|| times(what, &tally.latency)));
    rows.extend((!tally.lateness.is_empty()).then(|| times("due to sent", &tally.lateness)));
    if rows.is_empty() {
        return String::new();
    }
    let [p50, p90, p99, p999] = QUANTILES.map(|(name, ..)| name);
    let text = table(["MS", "MEAN ", p50, p90, p99, p999, "MAX "], rows);
    text + &late(plan, measured)
}

fn times(what: &str, times: &Histogram<u64>) -> [String; 7] {
    let [p50, p90, p99, p999] = QUANTILES.map(|(_, _, quantile)| ms(times.value_at_quantile(quantile)));
    [what.to_owned(), ms(times.mean() as u64), p50, p90, p99, p999, ms(times.max())]
}

/// A word of warning where the generator itself is a good part of what was measured.
fn late(plan: &Plan, measured: &Measured) -> String {
    let tally = &measured.tally;
    let half = |times: &Histogram<u64>| times.value_at_quantile(0.5);
    let is_late = !tally.latency.is_empty() && half(&tally.lateness) * 4 > half(&tally.latency);
    let threads = measured.client_cpu.map(|cpu| cpu.as_secs_f64() / measured.took.as_secs_f64() / plan.threads as f64);
    match threads.filter(|share| *share > BUSY) {
        Some(_) => {
            format!("\nthe client used all of its {} threads' CPU and may be the limit: see --threads\n", plan.threads)
        }
        None if is_late => "\na good part of these times is the client's own lateness in sending\n".to_owned(),
        None => String::new(),
    }
}

/// The failures of one server by their code; nothing where there are none.
fn failures(measured: &Measured) -> String {
    let row = |(code, failures): (&str, &super::tally::Failures)| {
        [code.to_owned(), failures.count.to_string(), cut(&failures.sample, SAMPLE)]
    };
    let rows: Vec<_> = measured.tally.failures().map(row).collect();
    if rows.is_empty() { String::new() } else { table(["FAILED", "COUNT ", "THE FIRST"], rows) }
}

fn statistics(statistics: &Statistics) -> String {
    let mean = |spent: Spent| spent.mean_us().map_or_else(dash, |us| format!("{:.3}", us / 1e3));
    let row = [
        "the server counted".to_owned(),
        statistics.rows.to_string(),
        statistics.runs.to_string(),
        statistics.mean_batch().map_or_else(dash, |rows| format!("{rows:.1}")),
        mean(statistics.queue),
        mean(statistics.input),
        mean(statistics.execute),
        mean(statistics.output),
    ];
    let header = ["", "ROWS ", "RUNS ", "ROWS/RUN ", "QUEUE MS ", "INPUT MS ", "EXECUTE MS ", "OUTPUT MS "];
    let all = table(header, [row]);
    let runs: u64 = statistics.batches.iter().map(|batches| batches.runs.count).sum();
    if runs == 0 {
        return all;
    }
    let rows = statistics.batches.iter().map(|batches| {
        let share = format!("{:.1}", 100.0 * batches.runs.count as f64 / runs as f64);
        [batches.size.to_string(), batches.runs.count.to_string(), share, mean(batches.runs)]
    });
    format!("{all}\n{}", table(["BATCH ", "RUNS ", "% ", "EXECUTE MS "], rows))
}

fn cpu(measured: &Measured) -> String {
    let row = |who: &str, cpu| {
        let per_call = measured.us_per_call(cpu).map_or_else(dash, |us| format!("{us:.1}"));
        let seconds = measured.took.as_secs_f64();
        let cores =
            cpu.filter(|_| seconds > 0.0).map_or_else(dash, |cpu| format!("{:.2}", cpu.as_secs_f64() / seconds));
        [who.to_owned(), per_call, cores]
    };
    let rows = [row("server", measured.server_cpu), row("client", measured.client_cpu)];
    table(["CPU", "µs PER CALL ", "CORES "], rows)
}

fn dash() -> String {
    "-".to_owned()
}

/// Two servers side by side: what was asked, and the ratios.
pub fn versus(plan: &Plan, targets: &str, rounds: &[Round], compared: &[Compared]) -> String {
    format!("{}, {} rounds\n\n{}", title(plan, targets), rounds.len(), ratios(compared))
}

/// Medians of both over the rounds, and how their ratios spread.
fn ratios(compared: &[Compared]) -> String {
    let names = ["answers per second", "p50 ms", "p99 ms", "server CPU µs per call"];
    let rows = compared.iter().zip(names).map(|(compared, name)| {
        let unit = if name.ends_with("ms") { 1e3 } else { 1.0 };
        let digits = if name.ends_with("ms") { 3 } else { 1 };
        let number = |number: Option<f64>| number.map_or_else(dash, |number| format!("{:.digits$}", number / unit));
        let ratio = |pick: fn(Spread) -> String| compared.ratio.map_or_else(dash, pick);
        [
            name.to_owned(),
            number(compared.target),
            number(compared.vs),
            ratio(|spread| format!("{:.2}", spread.median)),
            ratio(|spread| format!("{:.2} to {:.2}", spread.q1, spread.q3)),
            ratio(|spread| format!("{:.2} to {:.2}", spread.min, spread.max)),
        ]
    });
    table(["MEDIANS", "TARGET ", "VS ", "RATIO ", "HALF OF ROUNDS ", "ALL ROUNDS "], rows)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tonic::Status;

    use super::*;
    use crate::cli::bench::flags::tests::parsed;
    use crate::cli::bench::statistics::Batches;
    use crate::cli::bench::tally::{End, Tally};

    fn plan(flags: &[&str]) -> Plan {
        Plan::new(&parsed(flags).unwrap()).unwrap()
    }

    fn measured() -> Measured {
        let (mut tally, start) = (Tally::default(), Instant::now());
        (0..3).for_each(|_| tally.send());
        for millis in [1, 2] {
            tally.end(start, start + Duration::from_millis(millis), End::Answered, Some(Duration::from_millis(1)));
        }
        tally.end(start, start, End::Failed(Status::resource_exhausted("full\x1b[2J")), None);
        let runs = Spent { count: 1, ns: 500_000 };
        let statistics =
            Statistics { rows: 2, runs: 1, batches: vec![Batches { size: 2, runs }], ..Default::default() };
        let server_cpu = Some(Duration::from_micros(300));
        let took = Duration::from_millis(500);
        Measured { tally, took, statistics: Some(statistics), server_cpu, client_cpu: None }
    }

    #[test]
    fn a_run_is_told_from_its_counts_to_its_cpu() {
        let expected = "\
CALLS       COUNT  PER SECOND
answered        2         4.0
within 1ms      1         2.0
failed          1         2.0

MS              MEAN    P50    P90    P99  P99.9    MAX
to the answer  1.500  1.000  2.001  2.001  2.001  2.001

";
        let text = whole(&plan(&["--deadline", "1ms"]), &measured(), 80);
        assert!(text.starts_with(expected), "{text}");
        let end = "\
FAILED              COUNT  THE FIRST
RESOURCE_EXHAUSTED      1  full\\u{1b}[2J

                    ROWS  RUNS  ROWS/RUN  QUEUE MS  INPUT MS  EXECUTE MS  OUTPUT MS
the server counted     2     1       2.0         -         -           -          -

BATCH  RUNS      %  EXECUTE MS
    2     1  100.0       0.500

CPU     µs PER CALL  CORES
server        100.0   0.00
client            -      -
";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn a_title_says_what_is_asked_and_how() {
        let title = |flags: &[&str]| title(&plan(flags), "h:1");
        assert_eq!(title(&["--concurrency", "3"]), "m at h:1: 3 in flight over one connection");
        assert_eq!(title(&["--rate", "0.5"]), "m at h:1: 0.5 calls/s, poisson over 4 connections");
    }

    #[test]
    fn an_open_loop_tells_what_was_not_sent_and_how_late_the_rest_was() {
        let mut measured = measured();
        measured.tally.not_sent = 4;
        measured.tally.send_late(Duration::from_millis(1));
        let text = whole(&plan(&["--rate", "10"]), &measured, 80);
        assert!(text.contains("\nnot sent      4         8.0\n"), "{text}");
        assert!(text.contains("\ndue to sent        1.000  1.000"), "{text}");
        assert!(text.contains("\na good part of these times is the client's own lateness"), "{text}");
    }

    #[test]
    fn ratios_stand_beside_the_medians_and_their_spread() {
        let ratio = Some(Spread { min: 0.5, q1: 0.9, median: 1.0, q3: 1.25, max: 2.0 });
        let one = |name, target| Compared { name, target, vs: Some(1000.0), ratio };
        let none = Compared { name: "cpu", target: None, vs: None, ratio: None };
        let text = ratios(&[one("rate", Some(1000.0)), one("p50", Some(1500.0)), one("p99", None), none]);
        let expected = "\
MEDIANS                 TARGET      VS  RATIO  HALF OF ROUNDS    ALL ROUNDS
answers per second      1000.0  1000.0   1.00    0.90 to 1.25  0.50 to 2.00
p50 ms                   1.500   1.000   1.00    0.90 to 1.25  0.50 to 2.00
p99 ms                       -   1.000   1.00    0.90 to 1.25  0.50 to 2.00
server CPU µs per call       -       -      -               -             -
";
        assert_eq!(text, expected);
    }
}
