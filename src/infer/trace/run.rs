//! One run of an engine, as those it was for note it down, however it ended.

use std::sync::Arc;
use std::time::Instant;

use bytestring::ByteString;

use super::{Joint, Work};
use crate::error::Error;
use crate::infer::{Composition, Member};

/// A run of an engine.
#[derive(Debug)]
pub struct Run {
    /// Its span, and the calls that it was for.
    pub joint: Joint,
    /// How its batch came about.
    pub composition: Composition,
    /// The shape of its first input as the engine got it: rows that fill it up, and padding, included.
    pub shape: String,
    /// Where it ran.
    pub device: ByteString,
    /// When it was taken out of the queue.
    pub taken: Instant,
    /// When its inputs lay ready for the engine.
    pub merged: Instant,
    /// When the engine was done.
    pub executed: Instant,
    /// Why it came to nothing, where it did.
    pub failure: Option<Error>,
}

impl Run {
    /// Has it noted down by the calls that it was for.
    pub fn note(self, calls: &[Member]) {
        let run = Arc::new(self);
        for notes in calls.iter().filter_map(|call| call.trace.as_ref()?.notes.as_ref()) {
            notes.add(Work::Run(run.clone()));
        }
    }
}
