//! What an endpoint says that it serves.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::Said;
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
    /// The number of its nature, where the endpoint gives it one.
    pub nature: Option<NonZeroU64>,
    /// Of what nature it is, where that was asked for and told.
    pub said: Option<Arc<Said>>,
}

/// What a survey found.
pub(super) enum Taken {
    /// It says by itself what it serves.
    Index(Census),
    /// It must be asked about one model after another. Those that it was asked about, and whether it serves them.
    ByName(Vec<(Told, bool)>),
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
            let (version, nature) = (entry.version.parse().ok(), NonZeroU64::new(entry.infergate_nature));
            census.add(Told { name, version, ready, reason, nature, said: None });
        }
        census
    }

    /// With what a survey found.
    pub(super) fn after(&self, taken: Taken) -> Census {
        match taken {
            Taken::Index(census) => census,
            Taken::ByName(answers) => {
                let asked = Census { taken: true, by_name: true, ..Census::default() };
                let mut census = if self.by_name { self.clone() } else { asked };
                for (told, is_ready) in answers {
                    if is_ready { census.add(told) } else { census.remove(&told) }
                }
                census
            }
        }
    }

    /// Whether it has models that it does not serve, or none at all: as long as a process loads its models.
    pub(super) fn is_unready(&self) -> bool {
        !self.by_name && (self.models.is_empty() || self.models.values().flatten().any(|told| !told.ready))
    }

    /// Adds what was told of one version.
    pub(super) fn add(&mut self, told: Told) {
        let versions = self.models.entry(told.name.clone()).or_default();
        match versions.iter_mut().find(|known| known.version == told.version) {
            Some(known) => *known = told,
            None => versions.push(told),
        }
    }

    fn remove(&mut self, gone: &Told) {
        let Some(versions) = self.models.get_mut(&gone.name) else { return };
        versions.retain(|known| known.version != gone.version);
        if versions.is_empty() {
            self.models.remove(&gone.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, version: u64) -> Told {
        let (name, version) = (ModelName::new(name.into()).unwrap(), version.to_string().parse().ok());
        Told { name, version, ready: true, reason: String::new(), nature: None, said: None }
    }

    /// Whether anything is new.
    fn take(census: &mut Census, taken: Taken) -> bool {
        let next = census.after(taken);
        std::mem::replace(census, next.clone()) != next
    }

    #[test]
    fn what_was_learned_by_name_stays_until_its_endpoint_says_otherwise() {
        let mut census = Census::default();
        assert!(take(&mut census, Taken::ByName(vec![])), "that it is to be asked by name is new");
        census.add(told("learned-meanwhile", 1));
        assert!(take(&mut census, Taken::ByName(vec![(told("other", 1), true)])));
        assert_eq!(census.models.len(), 2);
        assert!(!take(&mut census, Taken::ByName(vec![(told("other", 1), true), (told("nobody", 1), false)])));
        assert!(take(&mut census, Taken::ByName(vec![(told("other", 1), false)])));
        assert_eq!(census.models.into_keys().map(|name| name.to_string()).collect::<Vec<_>>(), ["learned-meanwhile"]);
    }

    #[test]
    fn an_index_replaces_all_that_was_known() {
        let mut census = Census::default();
        take(&mut census, Taken::ByName(vec![(told("old", 1), true)]));
        let entry = ModelIndex { name: "new".into(), version: "1".into(), state: "READY".into(), ..Default::default() };
        assert!(take(&mut census, Taken::Index(Census::of_index(vec![entry]))));
        assert!(!census.by_name && census.models.contains_key("new") && census.models.len() == 1);
    }
}
