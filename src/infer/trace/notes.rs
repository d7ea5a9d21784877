//! What is noted down of one call while it is under way.

use std::sync::{Arc, Mutex, MutexGuard};

use smallvec::SmallVec;

use super::{Hop, Run};

/// Something that was done for a call, and perhaps for others with it.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly each call has a run, and that needs no memory of its own")]
pub enum Work {
    /// A batch was run.
    Run(Run),
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
    works: Mutex<Works>,
}

/// What was done for a call, in order.
#[derive(Debug, Default)]
pub struct Works {
    /// What is kept of it.
    pub kept: SmallVec<[Work; 1]>,
    /// How much more there was.
    pub beyond: usize,
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

    /// Something was done for it.
    pub fn add(&self, work: Work) {
        let mut works = self.works();
        if works.kept.len() < MOST {
            works.kept.push(work);
        } else {
            works.beyond += 1;
        }
    }

    /// What was done for it so far; whoever does more waits until this is dropped.
    pub fn works(&self) -> MutexGuard<'_, Works> {
        self.works.lock().expect("nothing panics while notes are taken")
    }
}
