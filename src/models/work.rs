//! What a load has to do: what is wanted, less what is served already.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::policy::VersionLabels;
use super::repository::{Contents, ModelFile};
use super::served::{LoadPlan, Served};
use super::state::{Model, Reason, State, reason};
use crate::infer::{Infer, ModelName, Version};

/// What a load has to do, and what it need not.
#[derive(Debug)]
pub(super) struct Work {
    /// To be loaded, in rising order of versions.
    pub(super) load: Vec<LoadPlan>,
    /// Wanted, but without a file.
    pub(super) broken: Vec<(Version, Reason)>,
    /// Wanted, and served as they are.
    pub(super) keep: BTreeSet<Version>,
    /// All that have a folder.
    pub(super) there: BTreeSet<Version>,
    pub(super) labels: VersionLabels,
}

/// How the load of one version ended.
pub(super) type Outcome<S> = (Version, Result<Arc<Served<S>>, Reason>);

impl Work {
    /// What it takes to serve what a model's folder and settings ask for.
    pub(super) fn new<S: Infer>(current: Option<&Model<S>>, name: &ModelName, contents: &Contents) -> Work {
        let wanted = contents.settings.versions.pick(contents.versions.keys().copied());
        let mut work = Work {
            load: Vec::new(),
            broken: Vec::new(),
            keep: BTreeSet::new(),
            there: contents.versions.keys().copied().collect(),
            labels: contents.settings.version_labels.clone(),
        };
        for version in wanted {
            let plan = match file_of(contents, version) {
                Ok(file) => plan(name, version, contents, file.clone()),
                Err(reason) => {
                    work.broken.push((version, reason));
                    continue;
                }
            };
            let served = current.and_then(|model| model.versions.get(&version)).and_then(State::served);
            if served.is_some_and(|served| served.is_current(&plan)) {
                work.keep.insert(version);
            } else {
                work.load.push(plan);
            }
        }
        work
    }

    /// Labels that mean a version which is not wanted.
    pub(super) fn dangling_labels(&self) -> Vec<&str> {
        let wanted = |version: Version| {
            self.keep.contains(&version)
                || self.load.iter().any(|plan| plan.version == version)
                || self.broken.iter().any(|(broken, _)| *broken == version)
        };
        self.labels.iter().filter(|(_, version)| !wanted(*version)).map(|(label, _)| &**label).collect()
    }
}

fn file_of(contents: &Contents, version: Version) -> Result<&ModelFile, Reason> {
    match contents.versions.get(&version) {
        Some(file) => file.as_ref().map_err(|why| reason(why)),
        None => Err(reason("the settings list it in versions, but it has no folder")),
    }
}

fn plan(name: &ModelName, version: Version, contents: &Contents, file: ModelFile) -> LoadPlan {
    LoadPlan {
        name: name.clone(),
        version,
        file: file.path,
        folder: contents.folder.clone(),
        settings: contents.settings.clone(),
        declared: contents.declared.clone(),
        fingerprint: file.fingerprint,
    }
}
