//! One run of an engine, as those it was for note it down, however it ended.

use std::time::Instant;

use bytestring::ByteString;

use super::{Joint, Work};
use crate::error::Error;
use crate::infer::{Composition, Member};
use crate::tensor::Shape;

/// A run of an engine.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its span, and the calls that it was for.
    pub joint: Joint,
    /// How its batch came about.
    pub composition: Composition,
    /// The shape of its first input, where it has one, as the engine got it: rows that fill it up, and padding, included.
    pub shape: Option<Shape>,
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
        let mut noted = calls.iter().filter_map(|call| call.trace.as_ref()?.notes.as_ref());
        let Some(first) = noted.next() else { return };
        noted.for_each(|notes| notes.add(Work::Run(self.clone())));
        first.add(Work::Run(self));
    }
}
