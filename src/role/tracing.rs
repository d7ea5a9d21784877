//! Traces as the configuration and OpenTelemetry's variables ask for them; the configuration goes before.

use std::path::PathBuf;
use std::time::Duration;

use super::StartError;
use crate::accept::Tracing;
use crate::config::{Config, ExportProtocol, variables_with};
use crate::observe::trace::{Collector, Environment, PREFIX, Protocol, Rules, SERVICE_NAME, Sampler, Tracer};
use crate::wire::trace::Propagators;

/// Which part of the calls is recorded where nobody says another.
const RATIO: f64 = 0.01;

/// What a collector does not take within this time when the process ends is dropped.
pub(super) const FLUSH: Duration = Duration::from_secs(2);

/// Traces of a process that is called `service` where nobody says another name. Runs on the runtime that it is called in.
///
/// # Errors
/// What is wrong with the collector's address.
pub(super) fn tracing(config: &Config, service: &'static str) -> Result<Tracing, StartError> {
    let environment = Environment::read(variables_with(PREFIX));
    let tracer = match plan(config, &environment, service) {
        None => Tracer::default(),
        Some((rules, collector)) => {
            let wrong = |what| StartError::Key { key: "tracing.endpoint", what };
            let tracer = Tracer::start(rules, &collector).map_err(wrong)?;
            environment.complaints.iter().for_each(|complaint| tracing::warn!(complaint, "tracing"));
            tracer
        }
    };
    let propagators = propagators(config, &environment, tracer.is_on())?;
    Ok(Tracing { propagators, tracer, trusted: config.tracing.trusted.clone() })
}

/// Which calls are kept, and where they go; none where nobody names a collector.
fn plan(config: &Config, environment: &Environment, service: &'static str) -> Option<(Rules, Collector)> {
    let own = &config.tracing;
    if environment.is_off {
        return None;
    }
    let said = environment.sampler.unwrap_or(Sampler { ratio: RATIO, parent_based: true });
    let sampler = match own.ratio {
        Some(ratio) => Sampler { ratio, parent_based: true },
        None => said,
    };
    let protocol = own.protocol.map(|own| match own {
        ExportProtocol::Grpc => Protocol::Grpc,
        ExportProtocol::Http => Protocol::Http,
    });
    let protocol = protocol.or(environment.protocol).unwrap_or(Protocol::Grpc);
    let mut collector = Collector::at(address(own.endpoint.as_deref(), environment, protocol)?, protocol);
    collector.ca = own.ca.clone().or_else(|| environment.certificate.as_ref().map(PathBuf::from));
    collector.headers = environment.headers.clone();
    collector.timeout = environment.timeout.unwrap_or(collector.timeout);
    collector.is_gzipped = environment.is_gzipped;
    collector.resource = resource(environment, service);
    Some((Rules { sampler, slow: own.slow.get(), queue: own.queue }, collector))
}

/// The collector's address, by HTTP with its path: that of traces where none is given, and beneath that of all signals.
fn address(own: Option<&str>, environment: &Environment, protocol: Protocol) -> Option<String> {
    let (text, is_base) = match own {
        Some(own) => {
            (own, own.split_once("://").is_none_or(|(_, rest)| rest.trim_end_matches('/').find('/').is_none()))
        }
        None => environment.endpoint.as_ref().map(|address| (&*address.text, address.is_base))?,
    };
    let is_whole = protocol == Protocol::Grpc || !is_base;
    Some(if is_whole { text.to_owned() } else { format!("{}/v1/traces", text.trim_end_matches('/')) })
}

/// What is told of this process, which is called `service` where nobody says another name.
fn resource(environment: &Environment, service: &'static str) -> Vec<(String, String)> {
    let own = [
        (SERVICE_NAME, service.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", format!("{:016x}", fastrand::u64(..))),
    ];
    let said = |name: &str| environment.resource.iter().any(|(said, _)| said == name);
    let own = own.into_iter().filter(|(name, _)| !said(name)).map(|(name, value)| (name.to_owned(), value));
    own.chain(environment.resource.iter().cloned()).collect()
}

/// The forms of traces. Where none is begun and nothing is said, only what costs nothing is looked at.
fn propagators(config: &Config, environment: &Environment, is_on: bool) -> Result<Propagators, StartError> {
    if let Some(own) = &config.tracing.propagators {
        let (named, unknown) = Propagators::named(own.iter());
        return match unknown.first() {
            None => Ok(named),
            Some(unknown) => {
                let what = format!("{unknown:?} is not known, allowed are tracecontext, baggage, b3, b3multi and none");
                Err(StartError::Key { key: "tracing.propagators", what })
            }
        };
    }
    if let Some(named) = &environment.propagators {
        let (named, unknown) = Propagators::named(named.iter().map(String::as_str));
        unknown.iter().for_each(|name| tracing::warn!(name, "OTEL_PROPAGATORS: it is not known"));
        return Ok(named);
    }
    Ok(if is_on { Propagators::STANDARD } else { Propagators::PASSING })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    const ELSEWHERE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere:4317");

    #[test]
    fn without_a_collector_nothing_is_planned_and_a_switch_turns_it_off() {
        let mut config = Config::default();
        assert_eq!(plan(&config, &environment(&[]), "x"), None);
        let (rules, collector) = plan(&config, &environment(&[ELSEWHERE]), "x").unwrap();
        assert_eq!((rules.sampler.ratio, rules.sampler.parent_based), (0.01, true));
        assert_eq!((&*collector.endpoint, collector.protocol), (ELSEWHERE.1, Protocol::Grpc));
        assert_eq!(collector.resource[0], (SERVICE_NAME.to_owned(), "x".to_owned()));
        config.tracing.endpoint = Some("http://here:4317".to_owned());
        assert!(plan(&config, &environment(&[]), "x").is_some());
        assert_eq!(plan(&config, &environment(&[("OTEL_SDK_DISABLED", "true")]), "x"), None);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_to_is_refused_when_the_process_starts() {
        for (endpoint, protocol) in [("ftp://here:4318", ExportProtocol::Http), ("http://[", ExportProtocol::Grpc)] {
            let mut config = Config::default();
            config.tracing.endpoint = Some(endpoint.to_owned());
            config.tracing.protocol = Some(protocol);
            let refused = tracing(&config, "x").unwrap_err();
            assert!(refused.is_wrong_use() && refused.to_string().starts_with("tracing.endpoint: "), "{refused}");
        }
    }

    #[test]
    fn keys_of_our_own_go_before_variables() {
        let variables = environment(&[
            ELSEWHERE,
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_PROPAGATORS", "b3"),
            ("OTEL_SERVICE_NAME", "theirs"),
        ]);
        let mut config = Config::default();
        let (rules, collector) = plan(&config, &variables, "x").unwrap();
        assert_eq!((rules.sampler.ratio, rules.sampler.parent_based), (0.5, false));
        assert_eq!((&*collector.endpoint, collector.protocol), ("http://elsewhere:4317/v1/traces", Protocol::Http));
        let names: Vec<_> = collector.resource.iter().filter(|(name, _)| name == SERVICE_NAME).collect();
        assert_eq!(names, [&(SERVICE_NAME.to_owned(), "theirs".to_owned())]);
        assert_eq!(propagators(&config, &variables, true).unwrap(), Propagators::named(["b3"]).0);
        config.tracing.ratio = Some(1.0);
        config.tracing.protocol = Some(ExportProtocol::Grpc);
        config.tracing.propagators = Some(serde_json::from_value(serde_json::json!(["tracecontext"])).unwrap());
        let (rules, collector) = plan(&config, &variables, "x").unwrap();
        assert_eq!((rules.sampler.ratio, rules.sampler.parent_based), (1.0, true));
        assert_eq!(collector.protocol, Protocol::Grpc);
        assert_eq!(propagators(&config, &variables, true).unwrap(), Propagators::named(["tracecontext"]).0);
    }

    #[test]
    fn an_address_without_a_path_gets_that_of_traces_by_http() {
        let by_http = |given| address(Some(given), &environment(&[]), Protocol::Http).unwrap();
        assert_eq!(by_http("http://a:4318"), "http://a:4318/v1/traces");
        assert_eq!(by_http("http://a:4318/"), "http://a:4318/v1/traces");
        assert_eq!(by_http("http://a/otlp/v1/traces"), "http://a/otlp/v1/traces");
        let of_all = environment(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a/otlp")]);
        assert_eq!(address(None, &of_all, Protocol::Http).unwrap(), "http://a/otlp/v1/traces");
        let of_traces = environment(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/otlp")]);
        assert_eq!(address(None, &of_traces, Protocol::Http).unwrap(), "http://a/otlp");
        assert_eq!(address(None, &of_all, Protocol::Grpc).unwrap(), "http://a/otlp");
    }

    #[test]
    fn a_propagator_of_our_own_that_is_not_known_is_refused_and_one_of_the_environment_is_left_out() {
        let mut config = Config::default();
        let unknown = environment(&[("OTEL_PROPAGATORS", "xray,b3")]);
        assert_eq!(propagators(&config, &unknown, false).unwrap(), Propagators::named(["b3"]).0);
        config.tracing.propagators = Some(serde_json::from_value(serde_json::json!(["xray"])).unwrap());
        assert!(propagators(&config, &unknown, false).is_err());
    }
}
