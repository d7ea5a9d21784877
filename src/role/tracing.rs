//! Traces as the configuration and OpenTelemetry's variables ask for them; the configuration goes before.

use super::StartError;
use super::collector::{Own, Service, collector};
use crate::accept::Tracing;
use crate::config::Config;
use crate::observe::otlp::{Collector, Signal, Variables};
use crate::observe::trace::{Environment, Rules, Sampler, Tracer};
use crate::wire::trace::Propagators;

/// Which part of the calls is recorded where nobody says another.
const RATIO: f64 = 0.01;

/// Traces of this process. Runs on the runtime that it is called in.
///
/// # Errors
/// What is wrong with the collector's address.
pub(super) fn tracing(config: &Config, variables: &Variables, service: Service) -> Result<Tracing, StartError> {
    let environment = Environment::read(variables);
    let tracer = match plan(config, &environment, service) {
        None => Tracer::default(),
        Some((rules, collector)) => {
            let wrong = |what| StartError::Key { key: "tracing.endpoint", what };
            let tracer = Tracer::start(rules, &collector).map_err(wrong)?;
            environment.exports.complaints.iter().for_each(|complaint| tracing::warn!(complaint, "tracing"));
            tracer
        }
    };
    let propagators = propagators(config, &environment, tracer.is_on())?;
    Ok(Tracing { propagators, tracer, trusted: config.tracing.trusted.clone() })
}

/// Which calls are kept, and where they go; none where nobody names a collector.
fn plan(config: &Config, environment: &Environment, service: Service) -> Option<(Rules, Collector)> {
    let own = &config.tracing;
    if environment.exports.is_off {
        return None;
    }
    let said = environment.sampler.unwrap_or(Sampler { ratio: RATIO, parent_based: true });
    let sampler = match own.ratio {
        Some(ratio) => Sampler { ratio, parent_based: true },
        None => said,
    };
    let to = Own { endpoint: own.endpoint.as_deref(), ca: own.ca.as_ref(), protocol: own.protocol };
    let collector = collector(Signal::Traces, to, &environment.exports, service)?;
    Some((Rules { sampler, slow: own.slow.get(), queue: own.queue }, collector))
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
    use crate::config::ExportProtocol;
    use crate::observe::otlp::{Protocol, SERVICE_NAME};

    fn planned(config: &Config, environment: &Environment) -> Option<(Rules, Collector)> {
        plan(config, environment, Service::called("x"))
    }

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Environment::read(&Variables::of(variables))
    }

    const ELSEWHERE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere:4317");

    #[test]
    fn without_a_collector_nothing_is_planned_and_a_switch_turns_it_off() {
        let mut config = Config::default();
        assert_eq!(planned(&config, &environment(&[])), None);
        let (rules, collector) = planned(&config, &environment(&[ELSEWHERE])).unwrap();
        assert_eq!((rules.sampler.ratio, rules.sampler.parent_based), (0.01, true));
        assert_eq!((&*collector.endpoint, collector.protocol), (ELSEWHERE.1, Protocol::Grpc));
        assert_eq!(collector.resource[0], (SERVICE_NAME.to_owned(), "x".to_owned()));
        config.tracing.endpoint = Some("http://here:4317".to_owned());
        assert!(planned(&config, &environment(&[])).is_some());
        assert_eq!(planned(&config, &environment(&[("OTEL_SDK_DISABLED", "true")])), None);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_to_is_refused_when_the_process_starts() {
        for (endpoint, protocol) in [("ftp://here:4318", ExportProtocol::Http), ("http://[", ExportProtocol::Grpc)] {
            let mut config = Config::default();
            config.tracing.endpoint = Some(endpoint.to_owned());
            config.tracing.protocol = Some(protocol);
            let refused = tracing(&config, &Variables::default(), Service::called("x")).unwrap_err();
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
        let (rules, collector) = planned(&config, &variables).unwrap();
        assert_eq!((rules.sampler.ratio, rules.sampler.parent_based), (0.5, false));
        assert_eq!((&*collector.endpoint, collector.protocol), ("http://elsewhere:4317/v1/traces", Protocol::Http));
        let names: Vec<_> = collector.resource.iter().filter(|(name, _)| name == SERVICE_NAME).collect();
        assert_eq!(names, [&(SERVICE_NAME.to_owned(), "theirs".to_owned())]);
        assert_eq!(propagators(&config, &variables, true).unwrap(), Propagators::named(["b3"]).0);
        config.tracing.ratio = Some(1.0);
        config.tracing.protocol = Some(ExportProtocol::Grpc);
        config.tracing.propagators = Some(serde_json::from_value(serde_json::json!(["tracecontext"])).unwrap());
        let (rules, collector) = planned(&config, &variables).unwrap();
        assert_eq!((rules.sampler.ratio, rules.sampler.parent_based), (1.0, true));
        assert_eq!(collector.protocol, Protocol::Grpc);
        assert_eq!(propagators(&config, &variables, true).unwrap(), Propagators::named(["tracecontext"]).0);
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
