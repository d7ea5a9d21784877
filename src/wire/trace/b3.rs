//! Zipkin's B3, in one header and in several.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::hex::{hex, put_hex};
use super::never_indexed;
use crate::infer::TraceContext;

pub(super) const B3: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// A place, and whether it is left to others whether it is recorded.
pub(super) type Read = (TraceContext, bool);

/// Reads `TRACE-SPAN`, `TRACE-SPAN-SAMPLED` or `TRACE-SPAN-SAMPLED-PARENT`. A decision alone is no place in a trace.
pub(super) fn read_single(value: &[u8]) -> Option<Read> {
    let text = std::str::from_utf8(value).ok()?;
    let mut fields = text.split('-');
    let (trace, span, sampled, parent) = (fields.next()?, fields.next()?, fields.next(), fields.next());
    let well_formed = fields.next().is_none() && parent.is_none_or(|parent| hex(parent, 16).is_some());
    if well_formed { place(trace, span, sampled.map(decision)) } else { None }
}

/// Reads `x-b3-traceid`, `x-b3-spanid`, `x-b3-sampled` and `x-b3-flags`.
pub(super) fn read_multi(headers: &HeaderMap) -> Option<Read> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (trace, span) = (text(TRACE_ID)?, text(SPAN_ID)?);
    let is_debug = text(FLAGS) == Some("1");
    let sampled = if is_debug { Some(Some(true)) } else { text(SAMPLED).map(decision) };
    place(trace, span, sampled)
}

/// Whether it is recorded, where that is said well.
fn decision(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// `sampled` is `None` where nothing is said, and `Some(None)` where junk is.
fn place(trace: &str, span: &str, sampled: Option<Option<bool>>) -> Option<Read> {
    let trace_id = hex(trace, 32).or_else(|| hex(trace, 16)).filter(|id| *id != 0)?;
    let span_id = hex(span, 16).filter(|id| *id != 0)? as u64;
    let (sampled, is_undecided) = match sampled {
        None => (false, true),
        Some(sampled) => (sampled?, false),
    };
    Some((TraceContext { trace_id, span_id, sampled }, is_undecided))
}

/// The one header of a call in this place.
pub(super) fn single(context: &TraceContext) -> HeaderValue {
    let mut text = *b"00000000000000000000000000000000-0000000000000000-0";
    put_hex(&mut text[..32], context.trace_id);
    put_hex(&mut text[33..49], context.span_id.into());
    put_hex(&mut text[50..], context.sampled.into());
    never_indexed(&text)
}

/// The several headers of a call in this place.
pub(super) fn write_multi(context: &TraceContext, headers: &mut HeaderMap) {
    let (mut trace, mut span) = ([0; 32], [0; 16]);
    put_hex(&mut trace, context.trace_id);
    put_hex(&mut span, context.span_id.into());
    headers.insert(TRACE_ID, never_indexed(&trace));
    headers.insert(SPAN_ID, never_indexed(&span));
    headers.insert(SAMPLED, HeaderValue::from_static(if context.sampled { "1" } else { "0" }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn context(sampled: bool) -> TraceContext {
        TraceContext { trace_id: 0x0af7651916cd43dd8448eb211c80319c, span_id: 0xb7ad6b7169203331, sampled }
    }

    fn single_of(text: &str) -> Option<Read> {
        read_single(text.as_bytes())
    }

    #[test]
    fn one_header_is_read_with_and_without_a_decision_and_a_parent() {
        assert_eq!(single_of(&format!("{TRACE}-{SPAN}-1")), Some((context(true), false)));
        assert_eq!(single_of(&format!("{TRACE}-{SPAN}-d-05e3ac9a4f6e3b90")), Some((context(true), false)));
        assert_eq!(single_of(&format!("{TRACE}-{SPAN}-0")), Some((context(false), false)));
        assert_eq!(single_of(&format!("{TRACE}-{SPAN}")), Some((context(false), true)));
        let short = single_of(&format!("8448eb211c80319c-{SPAN}-1")).unwrap();
        assert_eq!(short.0.trace_id, 0x8448eb211c80319c);
    }

    #[test]
    fn junk_in_one_header_is_no_place() {
        for junk in ["", "0", "1", "d", "-", &format!("{TRACE}-{SPAN}-2"), &format!("{TRACE}-{SPAN}-1-x")] {
            assert_eq!(single_of(junk), None, "{junk}");
        }
        assert_eq!(single_of(&format!("{}-{SPAN}-1", "0".repeat(32))), None);
        assert_eq!(single_of(&format!("{TRACE}-{}-1", "0".repeat(16))), None);
        assert_eq!(single_of(&format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90-1")), None);
    }

    #[test]
    fn several_headers_are_read_and_the_flag_for_debugging_goes_before() {
        let of = |headers: &[(HeaderName, &'static str)]| {
            let headers: HeaderMap =
                headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            read_multi(&headers)
        };
        let ids = [(TRACE_ID, TRACE), (SPAN_ID, SPAN)];
        assert_eq!(of(&ids), Some((context(false), true)));
        assert_eq!(of(&[&ids[..], &[(SAMPLED, "true")]].concat()), Some((context(true), false)));
        assert_eq!(of(&[&ids[..], &[(SAMPLED, "0")]].concat()), Some((context(false), false)));
        assert_eq!(of(&[&ids[..], &[(SAMPLED, "0"), (FLAGS, "1")]].concat()), Some((context(true), false)));
        assert_eq!(of(&[&ids[..], &[(SAMPLED, "maybe")]].concat()), None);
        assert_eq!(of(&ids[..1]), None);
    }

    proptest! {
        #[test]
        fn a_place_comes_back_as_it_was_written(trace_id in 1..=u128::MAX, span_id in 1..=u64::MAX, sampled: bool) {
            let context = TraceContext { trace_id, span_id, sampled };
            prop_assert_eq!(read_single(single(&context).as_bytes()), Some((context, false)));
            let mut headers = HeaderMap::new();
            write_multi(&context, &mut headers);
            prop_assert_eq!(read_multi(&headers), Some((context, false)));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "[0-9a-fdé-]{0,80}", flag in "[ -~]{0,4}") {
            _ = single_of(&text);
            let mut headers = HeaderMap::new();
            for (name, value) in [(TRACE_ID, &text), (SPAN_ID, &text), (SAMPLED, &flag), (FLAGS, &flag)] {
                if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                    headers.insert(name, value);
                }
            }
            _ = read_multi(&headers);
        }
    }
}
