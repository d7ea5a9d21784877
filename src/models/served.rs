//! One version of a model, before and after it is loaded.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytestring::ByteString;

use super::folder::Fingerprint;
use super::settings::Settings;
use super::triton::Declared;
use crate::infer::{Infer, ModelName, Version};
use crate::tensor::{BatchAxis, Signature};

/// What a loader is asked to load.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The model.
    pub name: ModelName,
    /// The version.
    pub version: Version,
    /// Its file, without symbolic links.
    pub file: PathBuf,
    /// The model's folder, without symbolic links.
    pub folder: PathBuf,
    /// The model's settings.
    pub settings: Arc<Settings>,
    /// What a `config.pbtxt` says beyond those.
    pub declared: Arc<Declared>,
    /// The state of the files, to notice later when they are others.
    pub fingerprint: Fingerprint,
}

/// How calls of a version are merged, as its callers can tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Merging {
    /// Along which; `None` where the model does not allow it.
    pub axis: Option<BatchAxis>,
    /// Rows that a batch may have; 1 where calls are not merged.
    pub max_batch: usize,
}

/// What a loader gives back: a version that is loaded and warm.
#[derive(Debug)]
pub struct Ready<S> {
    /// What answers its calls. Each clone is a handle to the same.
    pub service: S,
    /// What it takes and gives, as its callers see it.
    pub signature: Arc<Signature>,
    /// How its calls are merged.
    pub merging: Merging,
    /// Where it runs, such as `cpu` or `cuda:0`.
    pub device: ByteString,
    /// How many calls or batches it runs at one time.
    pub instances: usize,
}

/// A version that is served. Calls in flight hold it, so that it outlives its place in the catalog until they are done;
/// what it holds is then let go of on a thread that may block.
#[derive(Debug)]
pub struct Served<S: Infer> {
    /// The model.
    pub name: ModelName,
    /// The version.
    pub version: Version,
    /// What it takes and gives, as its callers see it.
    pub signature: Arc<Signature>,
    /// The settings that it was loaded with. Which versions are served and what they are called may have changed since.
    pub settings: Arc<Settings>,
    /// How its calls are merged.
    pub merging: Merging,
    /// What a `config.pbtxt` said beyond those.
    pub declared: Arc<Declared>,
    /// Where it runs, such as `cpu` or `cuda:0`.
    pub device: ByteString,
    /// How many calls or batches it runs at one time.
    pub instances: usize,
    /// When it was ready.
    pub loaded_at: SystemTime,
    /// How long loading and warming up took.
    pub load_time: Duration,
    /// A number for all of it that gateways go by, in whatever process it was loaded.
    pub nature: NonZeroU64,
    fingerprint: Fingerprint,
    service: Parting<S>,
}

impl<S: Infer> Served<S> {
    pub(super) fn new(plan: &LoadPlan, ready: Ready<S>, load_time: Duration) -> Served<S> {
        let nature = nature(&plan.name, plan.settings.pure, &ready.signature, &ready.merging);
        Served {
            nature,
            name: plan.name.clone(),
            version: plan.version,
            signature: ready.signature,
            settings: plan.settings.clone(),
            merging: ready.merging,
            declared: plan.declared.clone(),
            device: ready.device,
            instances: ready.instances,
            loaded_at: SystemTime::now(),
            load_time,
            fingerprint: plan.fingerprint.clone(),
            service: Parting(Some(ready.service)),
        }
    }

    /// What answers its calls. Hold the `Served` for as long as the call is in flight.
    pub fn service(&self) -> &S {
        self.service.0.as_ref().expect("a service is taken out only when it is dropped")
    }

    /// Whether loading `plan` would give the same again.
    pub(super) fn is_current(&self, plan: &LoadPlan) -> bool {
        let is_same = self.fingerprint == plan.fingerprint && self.declared == plan.declared;
        is_same && self.settings.runs_like(&plan.settings)
    }
}

/// The same number means the same of each. Another build may count otherwise, and is asked once more for that.
fn nature(name: &ModelName, is_pure: bool, signature: &Signature, merging: &Merging) -> NonZeroU64 {
    let mut hasher = DefaultHasher::new();
    (name, is_pure, signature, merging).hash(&mut hasher);
    NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN)
}

/// Drops what it holds where dropping may take its time: a session that is let go of frees memory and joins threads.
#[derive(Debug)]
struct Parting<S: Send + 'static>(Option<S>);

impl<S: Send + 'static> Drop for Parting<S> {
    fn drop(&mut self) {
        let held = self.0.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(held));
        }
    }
}
