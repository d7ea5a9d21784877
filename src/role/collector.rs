//! Where a process sends what it tells collectors of OpenTelemetry, as the configuration and the variables ask for it; the
//! configuration goes before.

use std::path::PathBuf;

use crate::config::ExportProtocol;
use crate::observe::otlp::{Collector, Exports, Protocol, SERVICE_NAME, Signal};

/// What a process is called where nobody says another name, and what tells it from others of that name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service {
    name: &'static str,
    instance: u64,
}

impl Service {
    /// A process that is called so.
    pub(super) fn called(name: &'static str) -> Service {
        Service { name, instance: fastrand::u64(..) }
    }

    /// What is told of it.
    fn resource(self, exports: &Exports) -> Vec<(String, String)> {
        let own = [
            (SERVICE_NAME, self.name.to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", format!("{:016x}", self.instance)),
        ];
        let said = |name: &str| exports.resource.iter().any(|(said, _)| said == name);
        let own = own.into_iter().filter(|(name, _)| !said(name)).map(|(name, value)| (name.to_owned(), value));
        own.chain(exports.resource.iter().cloned()).collect()
    }
}

/// What the configuration says of a collector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) endpoint: Option<&'a str>,
    pub(super) ca: Option<&'a PathBuf>,
    pub(super) protocol: Option<ExportProtocol>,
}

/// The collector of a signal; none where nobody names one.
pub(super) fn collector(signal: Signal, own: Own<'_>, exports: &Exports, service: Service) -> Option<Collector> {
    let protocol = own.protocol.map(|own| match own {
        ExportProtocol::Grpc => Protocol::Grpc,
        ExportProtocol::Http => Protocol::Http,
    });
    let protocol = protocol.or(exports.protocol).unwrap_or(Protocol::Grpc);
    let mut collector = Collector::at(address(signal, own.endpoint, exports, protocol)?, protocol);
    collector.ca = own.ca.cloned().or_else(|| exports.certificate.as_ref().map(PathBuf::from));
    collector.headers = exports.headers.clone();
    collector.timeout = exports.timeout.unwrap_or(collector.timeout);
    collector.is_gzipped = exports.is_gzipped;
    collector.resource = service.resource(exports);
    Some(collector)
}

/// The collector's address, by HTTP with its path: that of the signal where none is given, and beneath that of all signals.
fn address(signal: Signal, own: Option<&str>, exports: &Exports, protocol: Protocol) -> Option<String> {
    let (text, is_base) = match own {
        Some(own) => {
            (own, own.split_once("://").is_none_or(|(_, rest)| rest.trim_end_matches('/').find('/').is_none()))
        }
        None => exports.endpoint.as_ref().map(|address| (&*address.text, address.is_base))?,
    };
    let is_whole = protocol == Protocol::Grpc || !is_base;
    Some(if is_whole { text.to_owned() } else { format!("{}{}", text.trim_end_matches('/'), signal.path()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::otlp::Variables;

    fn exports(name: &str, value: &str) -> Exports {
        Exports::of(Signal::Traces, &Variables::of([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn an_address_without_a_path_gets_that_of_its_signal_by_http() {
        let none = Exports::default();
        let by_http = |given| address(Signal::Traces, Some(given), &none, Protocol::Http).unwrap();
        assert_eq!(by_http("http://a:4318"), "http://a:4318/v1/traces");
        assert_eq!(by_http("http://a:4318/"), "http://a:4318/v1/traces");
        assert_eq!(by_http("http://a/otlp/v1/traces"), "http://a/otlp/v1/traces");
        let of = |exports: &Exports, protocol| address(Signal::Traces, None, exports, protocol).unwrap();
        let of_all = exports("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a/otlp");
        assert_eq!(of(&of_all, Protocol::Http), "http://a/otlp/v1/traces");
        assert_eq!(of(&of_all, Protocol::Grpc), "http://a/otlp");
        let metrics = address(Signal::Metrics, None, &of_all, Protocol::Http);
        assert_eq!(metrics.as_deref(), Some("http://a/otlp/v1/metrics"));
        let of_traces = exports("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/otlp");
        assert_eq!(of(&of_traces, Protocol::Http), "http://a/otlp");
    }
}
