//! Asking another process: one call or several as one, tried as often as it took.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytestring::ByteString;
use smallvec::SmallVec;

use super::{Joint, Work, new_span_id};
use crate::error::Error;
use crate::infer::{Member, Spent};

/// Why an attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was the first.
    First,
    /// The one before had failed.
    Retry {
        /// That one never ran.
        never_ran: bool,
    },
    /// The one before was slow.
    Hedge,
    /// The endpoint of the one before seemed dead.
    Silence,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// Well; what the endpoint said of where the time went, and of how many rows and calls its batch was, where it did.
    Answered {
        /// When there was a connection.
        connected: Instant,
        /// When all of it was handed to that.
        sent: Instant,
        /// Where the time went.
        spent: Option<Box<Spent>>,
        /// Rows of the batch.
        rows: usize,
        /// Calls in it.
        calls: u32,
    },
    /// With a failure, of which gRPC has this name.
    Failed(&'static str, Error),
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its span's id, which its endpoint was told as the one that calls.
    pub span_id: u64,
    /// How often the call was tried before, by processes in front of this one as well.
    pub earlier: u32,
    /// Why it was made.
    pub why: Why,
    /// What people call its endpoint.
    pub endpoint: ByteString,
    /// Where that is.
    pub address: SocketAddr,
    /// The zone of that.
    pub zone: Option<ByteString>,
    /// Whether it was to find out whether the endpoint can be trusted again.
    pub is_probe: bool,
    /// When it began.
    pub began: Instant,
    /// How it ended, and when; an attempt that is given up for another one, or with its call, has no ending.
    pub ended: Option<(Instant, Ending)>,
}

/// All attempts at one thing.
#[derive(Debug)]
pub struct Hop {
    /// Its span, and the calls that it is for.
    pub joint: Joint,
    /// By which rule endpoints were picked.
    pub picker: &'static str,
    attempts: Mutex<SmallVec<[Attempt; 1]>>,
}

impl Hop {
    /// A hop that is about to begin, noted down by the calls that it is for; none where nobody takes notes.
    pub fn note(calls: &[Member], picker: &'static str) -> Option<Arc<Hop>> {
        let hop = Arc::new(Hop { joint: Joint::of(calls)?, picker, attempts: Mutex::default() });
        for notes in calls.iter().filter_map(|call| call.trace.as_ref()?.notes.as_ref()) {
            notes.add(Work::Hop(hop.clone()));
        }
        Some(hop)
    }

    /// An attempt begins, of which only the id of its span is not said yet; that id.
    pub fn begin(&self, attempt: Attempt) -> u64 {
        let span_id = new_span_id();
        self.lock().push(Attempt { span_id, ..attempt });
        span_id
    }

    /// The attempt with this span has ended.
    pub fn end(&self, span_id: u64, now: Instant, ending: Ending) {
        let mut attempts = self.lock();
        if let Some(attempt) = attempts.iter_mut().find(|attempt| attempt.span_id == span_id) {
            attempt.ended = Some((now, ending));
        }
    }

    /// Whether an attempt is under way.
    pub fn is_asking(&self) -> bool {
        self.lock().iter().any(|attempt| attempt.ended.is_none())
    }

    /// Its attempts so far, in the order in which they began.
    pub fn attempts(&self) -> SmallVec<[Attempt; 1]> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, SmallVec<[Attempt; 1]>> {
        self.attempts.lock().expect("nothing panics while attempts are noted")
    }
}
