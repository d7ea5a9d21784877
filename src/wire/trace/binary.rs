//! `grpc-trace-bin`: OpenCensus' binary form, which gRPC libraries send where they are asked to trace.

use http::HeaderName;

use crate::infer::TraceContext;
use crate::wire::binary;

pub(super) const GRPC_TRACE_BIN: HeaderName = HeaderName::from_static("grpc-trace-bin");

/// Reads version 0: the trace as field 0, the span as field 1, the options as field 2, which may be left out. Fields that
/// are not known end what is read.
pub(super) fn read(value: &[u8]) -> Option<TraceContext> {
    let bytes = binary::decode(value)?;
    let mut rest = bytes.strip_prefix(&[0])?;
    let trace_id = u128::from_be_bytes(field(&mut rest, 0)?);
    let span_id = u64::from_be_bytes(field(&mut rest, 1)?);
    let [options] = field(&mut rest, 2).unwrap_or([0]);
    (trace_id != 0 && span_id != 0).then_some(TraceContext { trace_id, span_id, sampled: options & 1 == 1 })
}

fn field<const LEN: usize>(rest: &mut &[u8], number: u8) -> Option<[u8; LEN]> {
    let (value, behind) = rest.strip_prefix(&[number])?.split_first_chunk()?;
    *rest = behind;
    Some(*value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(context: &TraceContext) -> Vec<u8> {
        let (trace, span) = (context.trace_id.to_be_bytes(), context.span_id.to_be_bytes());
        [&[0, 0][..], &trace, &[1], &span, &[2, context.sampled.into()]].concat()
    }

    #[test]
    fn options_may_be_left_out_and_junk_is_no_place() {
        let context = TraceContext { trace_id: 7, span_id: 9, sampled: true };
        let whole = written(&context);
        let of = |bytes: &[u8]| read(binary::encode(bytes).as_bytes());
        assert_eq!(of(&whole), Some(context));
        assert_eq!(of(&whole[..27]), Some(TraceContext { sampled: false, ..context }));
        assert_eq!(of(&[&whole[..], &[3, 1, 2]].concat()), Some(context), "a later field");
        for end in 0..27 {
            assert_eq!(of(&whole[..end]), None, "{end}");
        }
        assert_eq!(of(&[&[1], &whole[1..]].concat()), None, "another version");
        assert_eq!(of(&written(&TraceContext { trace_id: 0, ..context })), None);
        assert_eq!(read(b"no base64!"), None);
    }

    proptest! {
        #[test]
        fn a_place_is_read_as_it_was_written(trace_id in 1..=u128::MAX, span_id in 1..=u64::MAX, sampled: bool) {
            let context = TraceContext { trace_id, span_id, sampled };
            prop_assert_eq!(read(binary::encode(&written(&context)).as_bytes()), Some(context));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            _ = read(binary::encode(&bytes).as_bytes());
            _ = read(&bytes);
        }
    }
}
