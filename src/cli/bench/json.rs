//! What was measured, as JSON: times in microseconds, keys that stay.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::buckets::buckets;
use super::load::Load;
use super::plan::Plan;
use super::report::QUANTILES;
use super::side::Measured;
use super::statistics::{Spent, Statistics};
use super::versus::{Compared, Figures, Round};

/// What was asked, and how.
pub fn plan(plan: &Plan) -> Map<String, Value> {
    let load = match plan.load {
        Load::Closed { concurrency } => json!({ "kind": "closed", "concurrency": concurrency }),
        Load::Open { rate, spacing, most } => {
            json!({ "kind": "open", "rate_per_s": rate, "arrivals": spacing.name(), "max_outstanding": most })
        }
    };
    let mut map = Map::new();
    map.insert("model".into(), json!(plan.asked.model));
    map.insert("model_version".into(), json!(plan.asked.version));
    map.insert("load".into(), load);
    map.insert("connections".into(), json!(plan.connections));
    map.insert("deadline_us".into(), json!(plan.goodput.map(|deadline| deadline.as_micros() as u64)));
    map.insert("seed".into(), json!(plan.asked.seed));
    map
}

/// What one server's run showed.
pub fn measured(target: &str, plan: &Plan, measured: &Measured) -> Map<String, Value> {
    let tally = &measured.tally;
    let failures = tally
        .failures()
        .map(|(code, failures)| json!({ "code": code, "count": failures.count, "first": failures.sample }));
    let goodput = plan.goodput.map(|_| rounded(measured.per_second(tally.in_time)));
    let check = plan.check.map(|_| json!({ "different": tally.different, "first": tally.difference }));
    let value = json!({
        "target": target,
        "seconds": measured.took.as_secs_f64(),
        "calls": {
            "sent": tally.sent(),
            "answered": tally.answered(),
            "failed": tally.failed(),
            "given_up": tally.given_up(),
            "not_sent": tally.not_sent,
            "in_time": tally.in_time
        },
        "rate_per_s": rounded(measured.rate()),
        "goodput_per_s": goodput,
        "latency_us": times(&tally.latency),
        "lateness_us": times(&tally.lateness),
        "histogram": histogram(&tally.latency),
        "failures": failures.collect::<Value>(),
        "check": check,
        "server_cpu_us_per_call": measured.us_per_call(measured.server_cpu).map(rounded),
        "client_cpu_us_per_call": measured.us_per_call(measured.client_cpu).map(rounded),
        "statistics": measured.statistics.as_ref().map(statistics)
    });
    match value {
        Value::Object(map) => map,
        _ => unreachable!("an object was written"),
    }
}

/// Two servers side by side.
pub fn versus(rounds: &[Round], compared: &[Compared]) -> Map<String, Value> {
    let ratios: Map<String, Value> = compared
        .iter()
        .map(|compared| {
            let ratio = compared.ratio.map(|spread| {
                json!({
                    "median": ratio(spread.median), "q1": ratio(spread.q1), "q3": ratio(spread.q3),
                    "min": ratio(spread.min), "max": ratio(spread.max)
                })
            });
            let medians =
                json!({ "target": compared.target.map(rounded), "vs": compared.vs.map(rounded), "ratio": ratio });
            (compared.name.to_owned(), medians)
        })
        .collect();
    let round = |round: &Round| {
        let first = if round.target_first { "target" } else { "vs" };
        json!({ "first": first, "target": figures(&round.target), "vs": figures(&round.vs) })
    };
    let mut map = Map::new();
    map.insert("compared".into(), ratios.into());
    map.insert("rounds".into(), rounds.iter().map(round).collect());
    map
}

fn figures(figures: &Figures) -> Value {
    json!({
        "rate_per_s": rounded(figures.rate),
        "p50_us": figures.p50_us.map(rounded),
        "p99_us": figures.p99_us.map(rounded),
        "server_cpu_us_per_call": figures.cpu_us.map(rounded)
    })
}

/// Nothing where there are no times.
fn times(times: &Histogram<u64>) -> Value {
    if times.is_empty() {
        return Value::Null;
    }
    let mut map = Map::new();
    map.insert("min".into(), us(times.min()));
    map.insert("mean".into(), rounded(times.mean() / 1e3));
    let quantiles = QUANTILES.map(|(_, key, quantile)| (key.into(), us(times.value_at_quantile(quantile))));
    map.extend(quantiles);
    map.insert("max".into(), us(times.max()));
    map.into()
}

fn histogram(times: &Histogram<u64>) -> Value {
    let buckets = buckets(times).into_iter();
    buckets.map(|bucket| json!({ "from_us": us(bucket.from), "to_us": us(bucket.to), "count": bucket.count })).collect()
}

fn statistics(statistics: &Statistics) -> Value {
    let mean = |spent: Spent| spent.mean_us().map(rounded);
    let batches = statistics.batches.iter().map(
        |batches| json!({ "size": batches.size, "runs": batches.runs.count, "mean_execute_us": mean(batches.runs) }),
    );
    json!({
        "rows": statistics.rows,
        "runs": statistics.runs,
        "mean_batch": statistics.mean_batch().map(rounded),
        "answered": statistics.answered.count,
        "failed": statistics.failed.count,
        "mean_queue_us": mean(statistics.queue),
        "mean_input_us": mean(statistics.input),
        "mean_execute_us": mean(statistics.execute),
        "mean_output_us": mean(statistics.output),
        "batches": batches.collect::<Value>()
    })
}

fn us(ns: u64) -> Value {
    rounded(ns as f64 / 1e3)
}

/// To a tenth: no clock here is finer.
fn rounded(number: f64) -> Value {
    json!((number * 10.0).round() / 10.0)
}

fn ratio(number: f64) -> Value {
    json!((number * 1e4).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::cli::bench::flags::tests::parsed;
    use crate::cli::bench::tally::{End, Tally};
    use crate::cli::bench::versus::compare;

    #[test]
    fn a_run_has_every_key_and_null_for_what_is_not_known() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        tally.send();
        tally.end(start, start + Duration::from_millis(1), End::Answered, None);
        let plan = Plan::new(&parsed(&[]).unwrap()).unwrap();
        let value: Value =
            measured("h:1", &plan, &Measured { tally, took: Duration::from_millis(500), ..Default::default() }).into();
        assert_eq!((&value["rate_per_s"], &value["calls"]["answered"]), (&json!(2.0), &json!(1)));
        assert_eq!(value["latency_us"]["p999"], value["latency_us"]["p50"]);
        let unknown = ["goodput_per_s", "lateness_us", "check", "server_cpu_us_per_call", "statistics"];
        for key in unknown {
            assert_eq!(value.get(key), Some(&Value::Null), "{key}");
        }
        assert_eq!(value["histogram"][0]["count"], 1);
    }

    #[test]
    fn a_comparison_has_its_rounds_and_its_ratios() {
        let figures = |rate| Figures { rate, p50_us: None, p99_us: None, cpu_us: None };
        let rounds = [Round { target: figures(3.0), vs: figures(2.0), target_first: false }];
        let value: Value = versus(&rounds, &compare(&rounds)).into();
        assert_eq!(value["compared"]["rate_per_s"]["ratio"]["median"], 1.5);
        assert_eq!(value["compared"]["p50_us"]["ratio"], Value::Null);
        assert_eq!(value["rounds"][0]["first"], "vs");
    }
}
