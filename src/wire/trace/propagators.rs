//! Which forms of a trace are read, and in which it is told on.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{BAGGAGE, TRACEPARENT, TRACESTATE, b3, binary, list, traceparent};
use crate::infer::{Forms, Notes, Trace, TraceContext};

/// The forms that are read, and those that are written. The W3C's goes before gRPC's own binary one, that before B3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagators {
    reads: Forms,
    writes: Forms,
    baggage: bool,
}

/// What a caller says of its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The span that calls.
    pub context: TraceContext,
    /// Whether it is left to others whether the trace is recorded.
    pub is_undecided: bool,
    state: Option<HeaderValue>,
    baggage: Option<HeaderValue>,
}

const W3C: Forms = Forms { w3c: true, b3: false, b3_multi: false };
const ALL: Forms = Forms { w3c: true, b3: true, b3_multi: true };

impl Propagators {
    /// Where no trace is begun here: the W3C's form is passed on.
    pub const PASSING: Propagators = Propagators { reads: W3C, writes: W3C, baggage: false };

    /// Where nothing else is asked for: every form is read, the W3C's is written, and baggage is left out, since it carries
    /// whatever outside callers put into it.
    pub const STANDARD: Propagators = Propagators { reads: ALL, writes: W3C, baggage: false };

    /// Those of these names (`tracecontext`, `baggage`, `b3`, `b3multi`, `none`, as in OTEL_PROPAGATORS), which are read and
    /// written, and the names that are not known.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> (Propagators, Vec<&'a str>) {
        let mut named = Propagators { reads: Forms::default(), writes: Forms::default(), baggage: false };
        let mut unknown = Vec::new();
        for name in names.into_iter().map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "tracecontext" => named.writes.w3c = true,
                "baggage" => named.baggage = true,
                "b3" => named.writes.b3 = true,
                "b3multi" => named.writes.b3_multi = true,
                "none" => {}
                _ => unknown.push(name),
            }
        }
        named.reads = named.writes;
        (named, unknown)
    }

    /// What a call's headers tell of its trace. The binary form goes with the W3C's: whoever reads one reads the other.
    pub fn read(&self, headers: &HeaderMap) -> Option<Carried> {
        let decided = |context: TraceContext| (context, false);
        let w3c = || traceparent::read(headers.get(TRACEPARENT)?.as_bytes()).map(decided);
        let grpc = || binary::read(headers.get(binary::GRPC_TRACE_BIN)?.as_bytes()).map(decided);
        let single = || b3::read_single(headers.get(b3::B3)?.as_bytes());
        let own = self.reads.w3c.then(w3c).flatten();
        let state = own.and_then(|_| list::read(headers, &TRACESTATE, &list::STATE));
        let others = || {
            (self.reads.w3c.then(grpc).flatten())
                .or_else(|| self.reads.b3.then(single).flatten())
                .or_else(|| self.reads.b3_multi.then(|| b3::read_multi(headers)).flatten())
        };
        // Calls without a trace are many, and one look at the names is cheaper than a search for each form.
        let may_have_others = || *self != Propagators::PASSING && headers.keys().any(is_of_another_form);
        let (context, is_undecided) = own.or_else(|| may_have_others().then(others).flatten())?;
        let baggage = self.baggage.then(|| list::read(headers, &BAGGAGE, &list::BAGGAGE)).flatten();
        Some(Carried { context, is_undecided, state, baggage })
    }

    /// The trace of a call in this place, which goes on with what its caller said where it said something.
    #[inline]
    pub fn trace(&self, context: TraceContext, carried: Option<Carried>, notes: Option<Notes>) -> Trace {
        let (state, baggage) = carried.map_or((None, None), |carried| (carried.state, carried.baggage));
        Trace { context, state, baggage, forms: self.writes, notes }
    }

    /// The same of a call whose caller's span is passed on.
    pub fn pass(&self, carried: Carried) -> Trace {
        self.trace(carried.context, Some(carried), None)
    }
}

/// Whether a header of this name tells of a trace, in another form than the W3C's.
fn is_of_another_form(name: &HeaderName) -> bool {
    matches!(name.as_str(), "grpc-trace-bin" | "b3" | "x-b3-traceid")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::trace::write;

    const PARENT: (&str, &str) = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    const OTHER: &str = "00000000000000000000000000000007-0000000000000009-1";

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_w3cs_form_goes_before_others_which_are_read_where_it_is_missing() {
        let both = headers(&[PARENT, ("b3", OTHER), ("tracestate", "a=1")]);
        let trace = Propagators::STANDARD.read(&both).unwrap();
        assert_eq!((trace.context.span_id, trace.state.unwrap()), (0xb7ad6b7169203331, "a=1".parse().unwrap()));
        let other = headers(&[("b3", OTHER), ("tracestate", "a=1")]);
        let trace = Propagators::STANDARD.read(&other).unwrap();
        assert_eq!((trace.context.trace_id, trace.state), (7, None), "a state belongs to its traceparent");
        assert_eq!(Propagators::PASSING.read(&other), None);
    }

    #[test]
    fn baggage_is_passed_on_only_where_it_is_asked_for() {
        let came = headers(&[PARENT, ("baggage", "user=7")]);
        assert_eq!(Propagators::STANDARD.read(&came).unwrap().baggage, None);
        let (asked, unknown) = Propagators::named("tracecontext, baggage,xray".split(','));
        assert_eq!(unknown, ["xray"]);
        let mut out = HeaderMap::new();
        write(&asked.pass(asked.read(&came).unwrap()), 5, &mut out);
        assert_eq!(out["baggage"], "user=7");
        assert_eq!(out["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-0000000000000005-01");
    }

    #[test]
    fn none_reads_and_writes_nothing() {
        let (none, unknown) = Propagators::named(["none"]);
        assert!(unknown.is_empty());
        assert_eq!(none.read(&headers(&[PARENT, ("b3", OTHER)])), None);
        let mut out = HeaderMap::new();
        write(&none.trace(TraceContext { trace_id: 1, span_id: 1, sampled: true }, None, None), 5, &mut out);
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_by_the_same(
            (trace_id, span_id, sampled) in (1..=u128::MAX, 1..=u64::MAX, any::<bool>()),
            name in prop::sample::select(vec!["tracecontext", "b3", "b3multi"]),
        ) {
            let (propagators, _) = Propagators::named([name]);
            let context = TraceContext { trace_id, span_id: 1, sampled };
            let mut out = HeaderMap::new();
            write(&propagators.trace(context, None, None), span_id, &mut out);
            prop_assert_eq!(propagators.read(&out).unwrap().context, TraceContext { span_id, ..context });
        }
    }
}
