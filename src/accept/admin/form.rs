//! In which form somebody wants to be told numbers, by what is accepted (RFC 9110, 12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

/// Whether Prometheus's protobuf is asked for before text. It must be named; whatever else is told as text.
pub(super) fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accepted: Vec<Range<'_>> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(Range::of)
        .collect();
    let weight = |is: fn(&Range<'_>) -> bool| accepted.iter().filter(|range| is(range)).map(|range| range.weight).max();
    let protobuf = weight(|range| range.is_protobuf()).unwrap_or_default();
    protobuf > 0 && protobuf >= weight(|range| range.is_text()).unwrap_or_default()
}

/// A range of media types with its weight.
#[derive(Debug)]
struct Range<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    weight: u32,
}

impl<'a> Range<'a> {
    fn of(text: &'a str) -> Range<'a> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let named = parts.filter_map(|part| part.split_once('='));
        let parameters: Vec<_> = named.map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))).collect();
        let weight = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("q"));
        // One that cannot be read asks for nothing.
        let weight = weight.map_or(1.0, |(_, weight)| weight.parse().unwrap_or(0.0));
        Range { media_type, parameters, weight: (f64::clamp(weight, 0.0, 1.0) * 1000.0) as u32 }
    }

    fn is_protobuf(&self) -> bool {
        let says = |name: &str, value: &str, or: bool| match self.parameters.iter().find(|(own, _)| *own == name) {
            Some((_, said)) => said.eq_ignore_ascii_case(value),
            None => or,
        };
        self.media_type.eq_ignore_ascii_case("application/vnd.google.protobuf")
            && says("proto", "io.prometheus.client.MetricFamily", false)
            && says("encoding", "delimited", true)
    }

    fn is_text(&self) -> bool {
        ["application/openmetrics-text", "text/plain", "text/*"]
            .iter()
            .any(|own| self.media_type.eq_ignore_ascii_case(own))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    fn wants(accept: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        wants_protobuf(&headers)
    }

    #[test]
    fn protobuf_is_told_to_who_names_it_before_text() {
        let text = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(wants(&[&format!("{PROTOBUF},{text}")]) && wants(&[text, PROTOBUF]));
        assert!(wants(&[&format!("{PROTOBUF};q=0.6,application/openmetrics-text;q=0.5,*/*;q=0.2")]));
        assert!(wants(&["application/vnd.google.protobuf; proto=\"io.prometheus.client.MetricFamily\""]));
        assert!(!wants(&[&format!("{PROTOBUF};q=0.7,{text}")]));
        assert!(!wants(&[&format!("{PROTOBUF};q=0")]) && !wants(&[&format!("{PROTOBUF};q=much")]));
        assert!(!wants(&[]) && !wants(&["*/*"]) && !wants(&["application/*", text]));
        assert!(!wants(&["application/vnd.google.protobuf"]), "of what, is not said");
        assert!(!wants(&["application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text"]));
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_read_without_a_panic(accept in "[ -~]{0,60}") {
            let _ = wants(&[&accept]);
        }
    }
}
