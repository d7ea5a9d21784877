//! The models of a process that runs them, as a page for people.

use serde_json::{Value, json};

use crate::infer::Infer;
use crate::models::{Catalog, IndexEntry, Served, VersionState};

/// Every version of every model: what it is, and of those that serve how.
pub(super) fn page<S: Infer>(catalog: &Catalog<S>) -> Value {
    let (index, served) = (catalog.index(), catalog.served());
    let of = |entry: &IndexEntry| {
        let served = served.iter().find(|served| served.name == entry.name && Some(served.version) == entry.version);
        told(entry, served.map(|served| &**served))
    };
    json!({ "models": index.iter().map(of).collect::<Vec<_>>() })
}

/// What a version is called.
pub(super) fn state(state: VersionState) -> &'static str {
    match state {
        VersionState::Loading => "loading",
        VersionState::Ready => "ready",
        VersionState::Unavailable => "unavailable",
    }
}

fn told<S: Infer>(entry: &IndexEntry, served: Option<&Served<S>>) -> Value {
    json!({
        "name": entry.name.as_str(),
        "version": entry.version.map(|version| version.number()),
        "state": state(entry.state),
        "reason": entry.reason.to_string(),
        "batching": served.filter(|served| served.merging.max_batch > 1).map(|served| {
            json!({ "max_batch": served.merging.max_batch })
        }),
        "instances": served.map(|served| served.instances),
        "device": served.map(|served| served.device.to_string()),
    })
}
