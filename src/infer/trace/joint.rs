//! What was done for several calls at once is one span, told once, and linked to all of them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use smallvec::SmallVec;

use super::{TraceContext, new_span_id};
use crate::infer::Member;

/// The span of work that calls have in common, wherever its place is.
///
/// It belongs to the first of them that is recorded for sure; where none is, to the first that turns out to be kept at its
/// end. So it is drawn inside of a call, which for the many that run alone is the only one, and the others lead to it by
/// links.
#[derive(Debug)]
pub struct Joint {
    span_id: u64,
    /// How many calls, those that nothing is noted of included.
    calls: usize,
    members: SmallVec<[TraceContext; 1]>,
    home: OnceLock<TraceContext>,
    is_told: AtomicBool,
}

impl Joint {
    /// The span of what is done for these; none where nothing is noted of any of them.
    pub fn of(calls: &[Member]) -> Option<Joint> {
        let noted = calls.iter().filter_map(|call| call.trace.as_deref()).filter(|trace| trace.notes.is_some());
        let members: SmallVec<[TraceContext; 1]> = noted.map(|trace| trace.context).collect();
        if members.is_empty() {
            return None;
        }
        let home = members.iter().find(|member| member.sampled).map_or_else(OnceLock::new, |first| (*first).into());
        Some(Joint { span_id: new_span_id(), calls: calls.len(), members, home, is_told: AtomicBool::new(false) })
    }

    /// Its own id.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// How many calls it is for.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// The spans of those of them that something is noted of.
    pub fn members(&self) -> &[TraceContext] {
        &self.members
    }

    /// The call inside of which it is drawn, or would be where nobody was kept yet.
    pub fn home(&self) -> Option<TraceContext> {
        self.home.get().copied()
    }

    /// The same, of which one that is kept asks: it is that one's where nobody was before.
    pub fn home_for(&self, kept: TraceContext) -> TraceContext {
        *self.home.get_or_init(|| kept)
    }

    /// Whether whoever asks is to tell it: the first does.
    pub fn is_to_be_told(&self) -> bool {
        !self.is_told.swap(true, Relaxed)
    }
}
