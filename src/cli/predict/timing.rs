//! Where the time of a call went: what the server says in its `server-timing` trailer, and the client's own clock.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cli::table::{plain, step, table};

/// The key of the server's breakdown among a call's trailers.
pub const KEY: &str = "server-timing";

/// The names of the sum in the server's breakdown, and of what its stages do not account for.
const TOTAL: &str = "total";
const OTHER: &str = "other";

/// A server's breakdown of one call, in milliseconds, stages in the order in which it gave them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServerTiming {
    stages: Vec<(String, f64)>,
    total: f64,
    /// Where it ran.
    at: Option<String>,
}

impl ServerTiming {
    /// Reads `receive;dur=0.012, execute;dur=0.150, other;dur=0.008, total;dur=0.170, at;desc="cpu"`. What cannot be read is
    /// left out; nothing where nothing is left.
    pub fn parse(text: &str) -> Option<ServerTiming> {
        let mut stages: Vec<(String, f64)> = text.split(',').filter_map(entry).collect();
        let mut apart = |own| stages.iter().position(|(name, _)| name == own).map(|at| stages.remove(at).1);
        let (total, other) = (apart(TOTAL), apart(OTHER));
        let sum = stages.iter().map(|(_, millis)| millis).sum::<f64>() + other.unwrap_or_default();
        let at = text
            .split(',')
            .find_map(|entry| entry.trim().strip_prefix("at;desc="))
            .map(|at| at.trim_matches('"').to_owned());
        (total.is_some() || !stages.is_empty()).then(|| ServerTiming { stages, total: total.unwrap_or(sum), at })
    }

    /// What the server's stages do not account for.
    fn unaccounted(&self) -> f64 {
        self.total - self.stages.iter().map(|(_, millis)| millis).sum::<f64>()
    }
}

fn entry(text: &str) -> Option<(String, f64)> {
    let mut parameters = text.split(';').map(str::trim);
    let name = parameters.next().filter(|name| !name.is_empty())?;
    let millis: f64 = parameters.find_map(|parameter| parameter.strip_prefix("dur="))?.trim().parse().ok()?;
    (millis.is_finite() && millis >= 0.0).then(|| (name.to_owned(), millis))
}

/// One call on both clocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// From the client's first to its last look, in milliseconds.
    pub client: f64,
    /// The server's breakdown, where it gives one.
    pub server: Option<ServerTiming>,
}

impl Timing {
    /// A call that took `client`, and of which the server said `header`.
    pub fn new(client: Duration, header: Option<&str>) -> Timing {
        Timing { client: client.as_secs_f64() * 1e3, server: header.and_then(ServerTiming::parse) }
    }

    /// The call's time line by line; the last one is what the server did not see.
    fn lines(&self) -> Vec<(&str, f64)> {
        let Some(server) = &self.server else { return Vec::new() };
        let mut lines: Vec<(&str, f64)> = server.stages.iter().map(|(name, millis)| (&**name, *millis)).collect();
        // Each stage is rounded to a microsecond, so that less than one for each is no finding.
        if server.unaccounted() > 0.001 * lines.len() as f64 {
            lines.push(("unaccounted", server.unaccounted()));
        }
        lines.push(("network and client", (self.client - server.total).max(0.0)));
        lines
    }

    /// As a waterfall: each stage begins where the one before it ended. What the server did not see comes last, wherever
    /// it was.
    pub fn draw(&self) -> String {
        let lines = self.lines();
        if lines.is_empty() {
            return format!("the call took {:.3} ms; the server does not say where\n", self.client);
        }
        let whole = self.client.max(f64::MIN_POSITIVE);
        let mut before = 0.0;
        let row = |(name, millis): (&str, f64)| {
            let bar = step(before / whole, millis / whole);
            before += millis;
            [plain(name), format!("{millis:.3}"), bar]
        };
        let stages = table(["STAGE", "MS ", ""], lines.into_iter().map(row));
        let at = self.server.as_ref().and_then(|server| server.at.as_deref());
        let at = at.map(|at| format!(", at {}", plain(at))).unwrap_or_default();
        format!("the call took {:.3} ms{at}\n\n{stages}", self.client)
    }

    /// As JSON.
    pub fn json(&self) -> Map<String, Value> {
        let mut timing = Map::new();
        timing.insert("client_ms".into(), rounded(self.client));
        if let Some(server) = &self.server {
            let stages: Map<String, Value> =
                server.stages.iter().map(|(name, millis)| (name.clone(), rounded(*millis))).collect();
            server.at.iter().for_each(|at| _ = timing.insert("at".into(), json!(at)));
            timing.insert("server_ms".into(), rounded(server.total));
            timing.insert("stages_ms".into(), stages.into());
            timing.insert("network_and_client_ms".into(), rounded((self.client - server.total).max(0.0)));
        }
        timing
    }
}

/// The client's times of several calls, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    /// Of these calls, at least one.
    pub fn new(mut millis: Vec<f64>) -> Spread {
        assert!(!millis.is_empty(), "a spread is of at least one call");
        millis.sort_by(f64::total_cmp);
        Spread { sorted: millis }
    }

    /// The smallest time that `share` of the calls did not exceed (the nearest rank).
    fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.sorted.len() as f64).ceil() as usize;
        self.sorted[rank.clamp(1, self.sorted.len()) - 1]
    }

    fn numbers(&self) -> [(&'static str, f64); 4] {
        [("min", 0.0), ("p50", 0.5), ("p99", 0.99), ("max", 1.0)].map(|(name, share)| (name, self.percentile(share)))
    }

    /// As one line.
    pub fn draw(&self) -> String {
        let numbers = self.numbers().map(|(name, millis)| format!("{name} {millis:.3}"));
        format!("{} calls in ms: {}\n", self.sorted.len(), numbers.join(", "))
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("count".into(), json!(self.sorted.len()));
        object.extend(self.numbers().map(|(name, millis)| (format!("{name}_ms"), rounded(millis))));
        object.into()
    }
}

/// Milliseconds to the microsecond.
fn rounded(millis: f64) -> Value {
    json!((millis * 1e3).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "receive;dur=0.100, queue;dur=0.300, execute;dur=0.500, other;dur=0.100, total;dur=1.000";

    #[test]
    fn stages_keep_their_order_and_the_total_stands_apart() {
        let timing = ServerTiming::parse(HEADER).unwrap();
        assert_eq!(timing.stages.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["receive", "queue", "execute"]);
        assert_eq!(timing.total, 1.0);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let timing = ServerTiming::parse("a;dur=1, b, ;dur=2, c;dur=x, d;desc=\"e\";dur=2.5,f;dur=-1").unwrap();
        assert_eq!(timing.stages, [("a".to_owned(), 1.0), ("d".to_owned(), 2.5)]);
        assert_eq!(timing.total, 3.5);
        assert_eq!(ServerTiming::parse(""), None);
        assert_eq!(ServerTiming::parse("hit"), None);
    }

    #[test]
    fn the_last_line_is_what_the_server_did_not_see() {
        let timing = Timing::new(Duration::from_micros(1600), Some(HEADER));
        let lines = timing.lines();
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["receive", "queue", "execute", "unaccounted", "network and client"]);
        assert!((lines.iter().map(|(_, millis)| millis).sum::<f64>() - 1.6).abs() < 1e-9);
        assert!((lines[4].1 - 0.6).abs() < 1e-9);
    }

    #[test]
    fn a_server_whose_clock_ran_longer_leaves_nothing_to_the_network() {
        let timing = Timing::new(Duration::from_micros(900), Some(HEADER));
        assert_eq!(timing.lines().last(), Some(&("network and client", 0.0)));
    }

    #[test]
    fn a_call_is_drawn_with_its_time_and_bars() {
        let text =
            Timing::new(Duration::from_millis(2), Some("execute;dur=1.000, total;dur=1.000, at;desc=\"cpu\"")).draw();
        let expected = "\
the call took 2.000 ms, at cpu

STAGE                  MS
execute             1.000  ████████████
network and client  1.000              ████████████
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_server_that_says_nothing_is_tolerated() {
        let timing = Timing::new(Duration::from_millis(2), None);
        assert_eq!(timing.draw(), "the call took 2.000 ms; the server does not say where\n");
        assert_eq!(Value::from(timing.json()), json!({ "client_ms": 2.0 }));
    }

    #[test]
    fn json_has_both_clocks() {
        let timing = Timing::new(Duration::from_micros(1600), Some("execute;dur=0.5, total;dur=1"));
        let expected = json!({
            "client_ms": 1.6, "server_ms": 1.0, "stages_ms": { "execute": 0.5 }, "network_and_client_ms": 0.6
        });
        assert_eq!(Value::from(timing.json()), expected);
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let spread = Spread::new((1..=100).rev().map(f64::from).collect());
        assert_eq!(spread.draw(), "100 calls in ms: min 1.000, p50 50.000, p99 99.000, max 100.000\n");
        let one = Spread::new(vec![3.0]);
        assert_eq!(one.json(), json!({ "count": 1, "min_ms": 3.0, "p50_ms": 3.0, "p99_ms": 3.0, "max_ms": 3.0 }));
    }
}
