//! What an endpoint says that it serves.

use std::collections::BTreeMap;

use crate::infer::{ModelName, Version};
use crate::wire::proto::inference::repository_index_response::ModelIndex;

/// More models of one endpoint are not looked at: what one gateway keeps of them must be bounded.
const MOST_ENTRIES: usize = 10_000;
/// Longer reasons are cut.
const LONGEST_REASON: usize = 500;

/// One version of a model as an endpoint tells of it, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The model.
    pub name: ModelName,
    /// The version; `None` where it has none that is a number.
    pub version: Option<Version>,
    /// Whether it is served.
    pub ready: bool,
    /// Why not, where that was said.
    pub reason: String,
}

/// All that an endpoint says that it serves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// Whether it was asked successfully at all.
    pub taken: bool,
    /// Whether it does not say by itself, so that it must be asked about one model after another.
    pub by_name: bool,
    /// By model.
    pub models: BTreeMap<ModelName, Vec<Told>>,
}

impl Census {
    /// Of an index. Names that are none are left out.
    pub(super) fn of_index(index: Vec<ModelIndex>) -> Census {
        let mut census = Census { taken: true, ..Census::default() };
        for entry in index.into_iter().take(MOST_ENTRIES) {
            let Ok(name) = ModelName::new(entry.name.into()) else { continue };
            // An index of ready models only may leave the state out.
            let ready = matches!(entry.state.as_str(), "READY");
            let reason: String = entry.reason.chars().take(LONGEST_REASON).collect();
            let reason = if reason.is_empty() { entry.state.to_lowercase() } else { reason };
            census.add(Told { name, version: entry.version.parse().ok(), ready, reason });
        }
        census
    }

    /// Of an endpoint that must be asked by name.
    pub(super) fn by_name() -> Census {
        Census { taken: true, by_name: true, ..Census::default() }
    }

    /// Whether it has models that it does not serve, or none at all: as long as a process loads its models.
    pub(super) fn is_unready(&self) -> bool {
        !self.by_name && (self.models.is_empty() || self.models.values().flatten().any(|told| !told.ready))
    }

    /// Adds what was told of one version.
    pub(super) fn add(&mut self, told: Told) {
        let versions = self.models.entry(told.name.clone()).or_default();
        versions.retain(|known| known.version != told.version);
        versions.push(told);
    }
}
