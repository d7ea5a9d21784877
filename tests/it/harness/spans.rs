//! Spans as a collector got them.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1;

/// A span as it came, and the service that sent it.
#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    pub inner: v1::Span,
}

impl Span {
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub fn kind(&self) -> v1::span::SpanKind {
        self.inner.kind()
    }

    pub fn id(&self) -> &[u8] {
        &self.inner.span_id
    }

    pub fn trace(&self) -> String {
        hex(&self.inner.trace_id)
    }

    pub fn nanos(&self) -> u64 {
        self.inner.end_time_unix_nano - self.inner.start_time_unix_nano
    }

    /// An attribute as text; none where there is none.
    pub fn get(&self, name: &str) -> Option<String> {
        found(&self.inner.attributes, name)
    }

    /// An attribute of numbers.
    pub fn number(&self, name: &str) -> f64 {
        self.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).parse().unwrap()
    }

    /// The ids of the spans that it is linked to.
    pub fn links(&self) -> Vec<Vec<u8>> {
        self.inner.links.iter().map(|link| link.span_id.clone()).collect()
    }

    pub fn failed(&self) -> bool {
        self.inner.status.as_ref().is_some_and(|status| status.code() == v1::status::StatusCode::Error)
    }
}

pub(super) fn found(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?;
    Some(match value {
        AnyValue { value: Some(Value::StringValue(text)) } => text,
        AnyValue { value: Some(Value::IntValue(number)) } => number.to_string(),
        AnyValue { value: Some(Value::DoubleValue(number)) } => number.to_string(),
        AnyValue { value: Some(Value::BoolValue(truth)) } => truth.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Spans that came.
#[derive(Debug)]
pub struct Spans(pub Vec<Span>);

impl Spans {
    /// Those of a kind.
    pub fn of(&self, kind: v1::span::SpanKind) -> Vec<&Span> {
        self.0.iter().filter(|span| span.kind() == kind).collect()
    }

    /// Those of a name.
    pub fn named(&self, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| span.name() == name).collect()
    }

    /// The only one of a name.
    pub fn one(&self, name: &str) -> &Span {
        let named = self.named(name);
        assert_eq!(named.len(), 1, "{name} in {self:#?}");
        named[0]
    }

    /// What is right beneath a span.
    pub fn beneath(&self, parent: &Span) -> Vec<&Span> {
        let is_beneath = |span: &&Span| {
            span.inner.parent_span_id == parent.inner.span_id && span.inner.trace_id == parent.inner.trace_id
        };
        self.0.iter().filter(is_beneath).collect()
    }

    /// The names of those, sorted.
    pub fn names_beneath(&self, parent: &Span) -> Vec<&str> {
        let mut names: Vec<&str> = self.beneath(parent).iter().map(|span| span.name()).collect();
        names.sort_unstable();
        names
    }

    /// Those that begin a trace.
    pub fn roots(&self) -> Vec<&Span> {
        self.0.iter().filter(|span| span.inner.parent_span_id.is_empty()).collect()
    }
}
