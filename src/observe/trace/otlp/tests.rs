//! What is written, read by the generated messages.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Told;
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::tensor::Shape;

#[test]
fn numbers_are_told_as_text_as_others_write_them() {
    let told = |value| {
        let mut writer = Writer(Vec::new());
        writer.attribute(&Key::of("name"), value);
        let read = Span::decode(&*writer.0).unwrap().attributes.swap_remove(0);
        match read.value.unwrap().value.unwrap() {
            Told::StringValue(text) => text,
            other => panic!("{other:?}"),
        }
    };
    for id in [1, 0xb7ad_6b71_6920_3331, u64::MAX] {
        assert_eq!(told(Value::Id(id)), format!("{id:016x}"));
        assert_eq!(told(Value::Number(id)), id.to_string());
    }
    for dims in [&[][..], &[4, 0, 3], &[1, i64::MAX, 1]] {
        assert_eq!(told(Value::Dims(dims)), Shape::new(dims).unwrap().to_string());
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_by_the_generated_messages(
        (trace_id, id, parent) in (any::<u128>(), any::<u64>(), any::<Option<u64>>()),
        (name, text) in ("[ -~]{0,59}", "\\PC{0,300}"),
        (truth, integer, double) in (any::<bool>(), any::<i64>(), -1e300..1e300f64),
        links in prop::collection::vec((any::<u128>(), any::<u64>(), any::<bool>()), 0..40),
    ) {
        let mut spans = Spans::of(&[("service.name".to_owned(), text.clone())], 0);
        let times = (3, 1 << 62);
        let head =
            Head { trace_id, id, state: b"a=1", parent, is_remote: truth, name: &name, kind: Kind::Client, times };
        spans.begin(&head);
        let short = &text[..text.floor_char_boundary(9)];
        for value in [Value::Text(&text), Value::Text(short), 7.into(), truth.into(), integer.into(), Value::Double(double)] {
            spans.attribute(&Key::of(&name), value);
        }
        links.iter().for_each(|(trace_id, id, sampled)| spans.link(*trace_id, *id, *sampled));
        spans.dropped_links(7);
        spans.fail(&text);
        spans.begin(&Head { name: "another", state: b"", ..head });
        prop_assert_eq!(spans.count(), 2);

        let read = ExportTraceServiceRequest::decode(&*spans.finish()).unwrap();
        let all = &read.resource_spans[0];
        let service = all.resource.as_ref().unwrap().attributes[0].value.clone().unwrap().value;
        prop_assert_eq!(service, Some(Told::StringValue(text.clone())));
        prop_assert_eq!(&all.scope_spans[0].scope.as_ref().unwrap().name, "infergate");
        let [span, other] = &all.scope_spans[0].spans[..] else { panic!("two were written") };
        prop_assert_eq!((&*other.name, &*other.trace_state, other.attributes.len()), ("another", "", 0));
        prop_assert_eq!((&span.trace_id[..], &span.span_id[..]), (&trace_id.to_be_bytes()[..], &id.to_be_bytes()[..]));
        prop_assert_eq!(span.parent_span_id.clone(), parent.map_or(vec![], |parent| parent.to_be_bytes().to_vec()));
        prop_assert_eq!((&*span.trace_state, span.kind), ("a=1", 3));
        prop_assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), times);
        prop_assert_eq!(span.flags, if truth { 0x301 } else { 0x101 });
        let told: Vec<Told> = span.attributes.iter().map(|one| one.value.clone().unwrap().value.unwrap()).collect();
        let texts = [Told::StringValue(text.clone()), Told::StringValue(short.to_owned())];
        let numbers = [Told::IntValue(7), Told::BoolValue(truth), Told::IntValue(integer), Told::DoubleValue(double)];
        let wanted = [&texts[..], &numbers[..]].concat();
        prop_assert_eq!(told, wanted);
        prop_assert!(span.attributes.iter().all(|one| one.key == name));
        let linked: Vec<_> = span.links.iter().map(|link| (link.span_id.clone(), link.flags & 1 == 1)).collect();
        let wanted: Vec<_> = links.iter().map(|(_, id, sampled)| (id.to_be_bytes().to_vec(), *sampled)).collect();
        prop_assert_eq!((linked, span.dropped_links_count), (wanted, 7));
        let status = span.status.as_ref().unwrap();
        prop_assert_eq!((&status.message, status.code), (&text, 2));
    }
}
