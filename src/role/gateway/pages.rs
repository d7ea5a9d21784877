//! What a gateway shows of itself: models by how many endpoints have them, and what may be wrong with its sources.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::balance::{Listed, Told};
use crate::discover::Lives;

/// A source that was silent for so many of the longest times between two of its answers is named.
const PATIENCE: u32 = 3;

/// A source in a cluster that has nothing to say shows that it lives about as often.
const LEAST: Duration = Duration::from_secs(60);

/// Models by version: how many endpoints have them ready, and how many have them at all.
pub(super) fn models(told: &[Told], endpoints: &[Listed]) -> Value {
    let of = |told: &Told| {
        let version = told.version.map_or("unnumbered".to_owned(), |version| version.to_string());
        let models = || endpoints.iter().flat_map(|endpoint| &endpoint.models);
        let known = models().filter(|model| model.name == told.name.as_str());
        let ready = known.clone().filter(|model| model.versions.contains(&version)).count();
        json!({
            "name": told.name.as_str(),
            "version": told.version.map(|version| version.number()),
            "state": if told.ready { "ready" } else { "unavailable" },
            "reason": if told.ready { "" } else { &told.reason },
            "endpoints": { "ready": ready, "known": known.count() },
        })
    };
    json!({ "models": told.iter().map(of).collect::<Vec<_>>() })
}

/// Sources that say nothing any more, where `interval` is the longest time between two looks at one.
pub(super) fn stale(lives: &Lives, interval: Duration, now: Instant) -> Vec<String> {
    let longest = PATIENCE * interval.max(LEAST);
    let silent = lives.iter(now).filter_map(|life| Some((life.source, life.stale_for?)));
    let silent = silent.filter(|(_, stale_for)| *stale_for > longest);
    silent.map(|(source, stale_for)| format!("source {source}: no answer for {} s", stale_for.as_secs())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_stale_after_three_of_its_intervals_and_a_list_never() {
        let start = Instant::now();
        let sources = [("written down", false), ("dns a:1", true)];
        let lives = Lives::new(sources.map(|(name, is_asked)| (name.to_owned(), is_asked)), start);
        let after =
            |seconds, interval| stale(&lives, Duration::from_secs(interval), start + Duration::from_secs(seconds));
        assert_eq!(after(180, 5), [""; 0]);
        assert_eq!(after(181, 5), ["source dns a:1: no answer for 181 s"]);
        assert_eq!(after(300, 100), [""; 0]);
        assert_eq!(after(301, 100).len(), 1);
    }
}
