//! `traceparent` of the W3C's Trace Context.

use http::HeaderValue;

use super::hex::{hex, put_hex};
use super::never_indexed;
use crate::infer::TraceContext;

/// Reads one of version 00, or of a later one as far as that is the same. Anything else is no trace.
pub(super) fn read(value: &[u8]) -> Option<TraceContext> {
    let text = std::str::from_utf8(value).ok()?;
    let mut fields = text.splitn(4, '-');
    let (version, trace, span, rest) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let version = hex(version, 2)?;
    let (flags, extra) = rest.split_at_checked(2)?;
    let well_formed = if version == 0 { extra.is_empty() } else { extra.is_empty() || extra.starts_with('-') };
    let (trace_id, span_id, flags) = (hex(trace, 32)?, hex(span, 16)?, hex(flags, 2)?);
    let valid = well_formed && version != 0xff && trace_id != 0 && span_id != 0;
    valid.then_some(TraceContext { trace_id, span_id: span_id as u64, sampled: flags & 1 == 1 })
}

/// The header of a call in this place, whose `span_id` is the span that calls.
pub(super) fn traceparent(trace: &TraceContext) -> HeaderValue {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    put_hex(&mut text[3..35], trace.trace_id);
    put_hex(&mut text[36..52], trace.span_id.into());
    put_hex(&mut text[53..55], trace.sampled.into());
    never_indexed(&text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_trace_comes_back_as_it_was_written(trace_id in 1..=u128::MAX, span_id in 1..=u64::MAX, sampled: bool) {
            let trace = TraceContext { trace_id, span_id, sampled };
            prop_assert_eq!(read(traceparent(&trace).as_bytes()), Some(trace));
        }

        #[test]
        fn any_text_is_read_without_a_panic(value in "[0-9a-fé-]{0,60}") {
            _ = read(value.as_bytes());
        }
    }

    #[test]
    fn a_trace_is_written_as_the_standard_shows_it() {
        let trace =
            TraceContext { trace_id: 0x0af7651916cd43dd8448eb211c80319c, span_id: 0xb7ad6b7169203331, sampled: true };
        assert_eq!(traceparent(&trace), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let short = TraceContext { trace_id: 1, span_id: 2, sampled: false };
        assert_eq!(traceparent(&short), "00-00000000000000000000000000000001-0000000000000002-00");
    }

    #[test]
    fn a_trace_is_read_and_junk_is_none() {
        let trace = read(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(trace.trace_id, 0x0af7651916cd43dd8448eb211c80319c);
        assert_eq!((trace.span_id, trace.sampled), (0xb7ad6b7169203331, true));
        for junk in [
            &b"00-00000000000000000000000000000000-b7ad6b7169203331-01"[..],
            b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            b"00-0af7651916cd43dd8448eb211c80319c",
            "00-é".as_bytes(),
        ] {
            assert_eq!(read(junk), None);
        }
        assert!(read(b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-future").is_some());
    }
}
