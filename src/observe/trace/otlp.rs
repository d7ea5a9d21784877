//! OTLP's message of spans, written as bytes while spans are drawn. Neither the SDK's spans nor the generated messages are
//! made on the way: they cost a call that is recorded three times as much as answering it.

mod key;
mod writer;

pub(super) use key::Key;
pub(super) use writer::Value;

use writer::{Begun, FIXED32, FIXED64, VARINT, Writer, key};

/// Fields of `opentelemetry.proto.trace.v1.Span`.
mod field {
    pub(super) const TRACE_ID: u32 = 1;
    pub(super) const SPAN_ID: u32 = 2;
    pub(super) const TRACE_STATE: u32 = 3;
    pub(super) const PARENT: u32 = 4;
    pub(super) const NAME: u32 = 5;
    pub(super) const KIND: u32 = 6;
    pub(super) const START: u32 = 7;
    pub(super) const END: u32 = 8;
    pub(super) const ATTRIBUTE: u32 = 9;
    pub(super) const LINK: u32 = 13;
    pub(super) const DROPPED_LINKS: u32 = 14;
    pub(super) const STATUS: u32 = 15;
    pub(super) const FLAGS: u32 = 16;
    /// Of a link, whose others are those of a span.
    pub(super) const LINK_FLAGS: u32 = 6;
}

/// Bits of a span's flags: whether it is recorded, that what follows is known, and whether its parent is elsewhere.
const SAMPLED: u32 = 1;
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Its code of a status.
const ERROR: u64 = 2;

/// What asks whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// What every span has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) trace_id: u128,
    pub(super) id: u64,
    pub(super) state: &'a [u8],
    pub(super) parent: Option<u64>,
    /// Whether the parent is in another process.
    pub(super) is_remote: bool,
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// Nanoseconds since 1970.
    pub(super) times: (u64, u64),
}

impl Head<'_> {
    /// Kind, times and flags.
    #[inline(always)]
    fn rest(&self) -> [u8; 26] {
        let mut bytes = [0; 26];
        bytes[..2].copy_from_slice(&[key(field::KIND, VARINT), self.kind as u8]);
        bytes[2] = key(field::START, FIXED64);
        bytes[3..11].copy_from_slice(&self.times.0.to_le_bytes());
        bytes[11] = key(field::END, FIXED64);
        bytes[12..20].copy_from_slice(&self.times.1.to_le_bytes());
        let remote = if self.is_remote { IS_REMOTE } else { 0 };
        // Fields from 16 on have a key of two bytes.
        bytes[20..22].copy_from_slice(&[key(field::FLAGS & 0xf, FIXED32) | 0x80, (field::FLAGS >> 4) as u8]);
        bytes[22..].copy_from_slice(&(SAMPLED | KNOWS_REMOTE | remote).to_le_bytes());
        bytes
    }
}

/// The spans of one process in one message, one after another.
#[derive(Debug)]
pub(super) struct Spans {
    message: Writer,
    all: Begun,
    scope: Begun,
    open: Option<Begun>,
    count: usize,
}

impl Spans {
    /// No span yet, of a process with these attributes, in a message that may become so long.
    pub(super) fn of(resource: &[(String, String)], capacity: usize) -> Spans {
        let mut message = Writer(Vec::with_capacity(capacity));
        let all = message.begin(1);
        let within = message.begin(1);
        for (name, value) in resource {
            message.told(1, name, value);
        }
        message.end(within);
        let scope = message.begin(2);
        let within = message.begin(1);
        message.bytes(1, b"infergate");
        message.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
        message.end(within);
        Spans { message, all, scope, open: None, count: 0 }
    }

    /// Begins a span, and ends the one before.
    pub(super) fn begin(&mut self, head: &Head<'_>) {
        self.close();
        self.count += 1;
        self.open = Some(self.message.begin(2));
        let span = &mut self.message;
        span.trace(head.trace_id);
        span.id(field::SPAN_ID, head.id);
        if let Some(parent) = head.parent {
            span.id(field::PARENT, parent);
        }
        if !head.state.is_empty() {
            span.bytes(field::TRACE_STATE, head.state);
        }
        span.bytes(field::NAME, head.name.as_bytes());
        span.put(&head.rest());
    }

    /// An attribute of the span.
    #[inline(always)]
    pub(super) fn attribute(&mut self, name: &Key, value: Value<'_>) {
        self.message.attribute(name, value);
    }

    /// It has failed.
    pub(super) fn fail(&mut self, message: &str) {
        let status = self.message.begin(field::STATUS);
        self.message.bytes(2, message.as_bytes());
        self.message.integer(3, ERROR);
        self.message.end(status);
    }

    /// It is linked to that one.
    pub(super) fn link(&mut self, trace_id: u128, span_id: u64, sampled: bool) {
        let link = self.message.begin(field::LINK);
        self.message.trace(trace_id);
        self.message.id(field::SPAN_ID, span_id);
        self.message.put(&[key(field::LINK_FLAGS, FIXED32)]);
        self.message.put(&(if sampled { SAMPLED } else { 0 } | KNOWS_REMOTE).to_le_bytes());
        self.message.end(link);
    }

    /// It is linked to so many more.
    pub(super) fn dropped_links(&mut self, count: usize) {
        self.message.integer(field::DROPPED_LINKS, count as u64);
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.message.end(open);
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The message, an `ExportTraceServiceRequest`.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.close();
        self.message.end(self.scope);
        self.message.end(self.all);
        self.message.0
    }
}

#[cfg(test)]
mod tests;
