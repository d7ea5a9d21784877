//! What is noted down of one call while it is under way.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use smallvec::SmallVec;

use super::{Hop, Run};
use crate::infer::{Target, Version};

/// Something that was done for a call, and perhaps for others with it.
#[derive(Debug, Clone)]
pub enum Work {
    /// A batch was run.
    Run(Arc<Run>),
    /// Another process was asked.
    Hop(Arc<Hop>),
}

/// A call has a run or a hop; one more for each time that it had to be run again; and a large one has one for each part.
/// What is beyond this is counted and not kept.
const MOST: usize = 32;

/// The notes of one call.
#[derive(Debug, Default)]
pub struct Notes {
    /// The span that called, where it is known.
    parent: Option<u64>,
    model: OnceLock<Target>,
    version: OnceLock<Version>,
    works: Mutex<(SmallVec<[Work; 1]>, usize)>,
}

impl Notes {
    /// Nothing is known yet but who called.
    pub fn begin(parent: Option<u64>) -> Notes {
        Notes { parent, ..Notes::default() }
    }

    /// The span that called.
    pub fn parent(&self) -> Option<u64> {
        self.parent
    }

    /// Which model it is for. Only the first time counts.
    pub fn is_for(&self, model: &Target) {
        let _ = self.model.set(model.clone());
    }

    /// Which model it is for, once its message was read.
    pub fn model(&self) -> Option<&Target> {
        self.model.get()
    }

    /// Which version has answered it.
    pub fn answered_by(&self, version: Version) {
        let _ = self.version.set(version);
    }

    /// Which version has answered it, where that is known.
    pub fn version(&self) -> Option<Version> {
        self.version.get().copied()
    }

    /// Something was done for it.
    pub fn add(&self, work: Work) {
        let mut works = self.lock();
        if works.0.len() < MOST {
            works.0.push(work);
        } else {
            works.1 += 1;
        }
    }

    /// What was done for it, in order, and how much more than is kept.
    pub fn works(&self) -> (SmallVec<[Work; 1]>, usize) {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, (SmallVec<[Work; 1]>, usize)> {
        self.works.lock().expect("nothing panics while notes are taken")
    }
}
