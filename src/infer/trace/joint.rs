//! What was done for several calls at once is one span, told once, and linked to all of them.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::{TraceContext, new_span_id};
use crate::infer::Member;

/// The span of work that calls have in common, wherever its place is. Clones are of the same.
///
/// It belongs to the first of them that is recorded for sure; where none is, to the first that turns out to be kept at its
/// end. So it is drawn inside of a call, which for the many that run alone is the only one, and the others lead to it by
/// links.
#[derive(Debug, Clone)]
pub struct Joint {
    span_id: u64,
    /// How many calls, those that nothing is noted of included.
    calls: usize,
    members: Members,
}

/// The calls that something is noted of.
#[derive(Debug, Clone)]
enum Members {
    /// The usual case: there is nothing to agree on.
    One(TraceContext),
    Several(Arc<Several>),
}

#[derive(Debug)]
struct Several {
    members: Box<[TraceContext]>,
    /// Which of them it belongs to; none yet where none has that number.
    home: AtomicUsize,
    is_told: AtomicBool,
}

const NOWHERE: usize = usize::MAX;

impl Joint {
    /// The span of what is done for these; none where nothing is noted of any of them.
    pub fn of(calls: &[Member]) -> Option<Joint> {
        let noted = calls.iter().filter_map(|call| call.trace.as_deref()).filter(|trace| trace.notes.is_some());
        let mut contexts = noted.map(|trace| trace.context);
        let first = contexts.next()?;
        let members = match contexts.next() {
            None => Members::One(first),
            Some(second) => Members::Several(Arc::new([first, second].into_iter().chain(contexts).collect())),
        };
        Some(Joint { span_id: new_span_id(), calls: calls.len(), members })
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
        match &self.members {
            Members::One(member) => slice::from_ref(member),
            Members::Several(several) => &several.members,
        }
    }

    /// The call inside of which it is drawn, asked by one of its calls that is kept: that one where none was before.
    pub fn home_for(&self, kept: TraceContext) -> TraceContext {
        match &self.members {
            Members::One(member) => *member,
            Members::Several(several) => several.home_for(kept),
        }
    }

    /// Whether whoever asks is to tell it: the first does.
    pub fn is_to_be_told(&self) -> bool {
        match &self.members {
            Members::One(_) => true,
            Members::Several(several) => !several.is_told.swap(true, Relaxed),
        }
    }
}

impl FromIterator<TraceContext> for Several {
    fn from_iter<I: IntoIterator<Item = TraceContext>>(members: I) -> Several {
        let members: Box<[TraceContext]> = members.into_iter().collect();
        let home = members.iter().position(|member| member.sampled).unwrap_or(NOWHERE).into();
        Several { members, home, is_told: AtomicBool::new(false) }
    }
}

impl Several {
    fn home_for(&self, kept: TraceContext) -> TraceContext {
        let own = self.members.iter().position(|member| *member == kept).unwrap_or(NOWHERE);
        let home = self.home.compare_exchange(NOWHERE, own, Relaxed, Relaxed).unwrap_or_else(|home| home);
        let home = if home == NOWHERE { own } else { home };
        self.members.get(home).copied().unwrap_or(kept)
    }
}
