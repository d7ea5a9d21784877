//! A call's place in a distributed trace, as headers say it: read from a caller's, written into those of calls that are made
//! for it. Whatever is malformed is no trace, and never a failure.

mod b3;
mod binary;
mod hex;
mod list;
mod propagators;
mod traceparent;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use propagators::{Carried, Propagators};

use crate::infer::{Trace, TraceContext, new_span_id};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Tells of `trace` in the headers of a call that the span `span_id` makes.
pub fn write(trace: &Trace, span_id: u64, headers: &mut HeaderMap) {
    let context = TraceContext { span_id, ..trace.context };
    if trace.forms.w3c {
        headers.insert(TRACEPARENT, traceparent::traceparent(&context));
        if let Some(state) = &trace.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
    if trace.forms.b3 {
        headers.insert(b3::B3, b3::single(&context));
    }
    if trace.forms.b3_multi {
        b3::write_multi(&context, headers);
    }
    if let Some(baggage) = &trace.baggage {
        headers.insert(BAGGAGE, baggage.clone());
    }
}

/// Says in the headers of a question, in the W3C's form, that no trace of it is to be recorded.
pub fn write_unrecorded(headers: &mut HeaderMap) {
    let context = TraceContext { trace_id: fastrand::u128(1..), span_id: new_span_id(), sampled: false };
    headers.insert(TRACEPARENT, traceparent::traceparent(&context));
}

/// No value of a span comes twice, so that none should push others out of the connection's table of headers.
fn never_indexed(text: &[u8]) -> HeaderValue {
    let mut value = HeaderValue::from_bytes(text).expect("digits and dashes make a header value");
    value.set_sensitive(true);
    value
}
