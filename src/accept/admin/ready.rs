//! Whether the process can be called, and what is wrong with it: that it is ready does not say that all is well.

use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use super::page::{Answer, Concerns, json, plain, wants_json};
use crate::accept::control::{Directory, Readiness};
use crate::models::{IndexEntry, VersionState};

/// More models are counted and not named.
const MOST: usize = 100;

/// The answer to a probe: a line for whether, then one for each thing that is wrong.
pub(super) async fn ready<D: Directory>(readiness: &Readiness<D>, concerns: &[Concerns], asked: &Parts) -> Answer {
    let checked = readiness.check();
    let status = if checked.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reason = checked.err().map(|error| error.to_string());
    let mut wrong = models(readiness).await;
    wrong.extend(concerns.iter().flat_map(|concerns| concerns()));
    if wants_json(asked, "verbose") {
        return json(status, &json!({ "ready": reason.is_none(), "reason": reason, "concerns": wrong }));
    }
    let first = reason.map_or("ready".to_owned(), |reason| format!("not ready: {reason}"));
    plain(status, [&[first], &wrong[..]].concat().join("\n") + "\n")
}

/// Models that do not serve, each with why.
async fn models<D: Directory>(readiness: &Readiness<D>) -> Vec<String> {
    let index = match readiness.directory.index().await {
        Ok(index) => index,
        Err(error) => return vec![format!("models: {error}")],
    };
    let unready: Vec<&IndexEntry> = index.iter().filter(|entry| entry.state != VersionState::Ready).collect();
    let mut told: Vec<String> = unready.iter().take(MOST).map(|entry| told(entry)).collect();
    if unready.len() > MOST {
        told.push(format!("and {} more models", unready.len() - MOST));
    }
    told
}

fn told(entry: &IndexEntry) -> String {
    let version = entry.version.map_or_else(String::new, |version| format!(" (version {version})"));
    let state = match entry.state {
        VersionState::Loading => "loading",
        _ if entry.reason.is_empty() => "not ready",
        _ => &entry.reason,
    };
    format!("model {:?}{version}: {}", entry.name.as_str(), state.replace('\n', " "))
}
