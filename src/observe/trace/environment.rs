//! What OpenTelemetry's own variables say, as far as the exporter's library does not read them itself. Each is weaker than
//! the configuration's own key.

use super::sampler::Sampler;

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, as Protobuf.
    Http,
}

/// What the variables say; what they leave open is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Environment {
    /// The collector.
    pub endpoint: Option<String>,
    /// The authorities that its certificate must come from.
    pub certificate: Option<String>,
    /// Whether they turn traces off.
    pub is_off: bool,
    /// How spans are sent.
    pub protocol: Option<Protocol>,
    /// How many calls are recorded.
    pub sampler: Option<Sampler>,
    /// In which forms traces are read and written, by their names.
    pub propagators: Option<Vec<String>>,
    /// Whether they name the service.
    pub names_service: bool,
    /// What cannot be used, one sentence each. It is left out, as the specification asks.
    pub complaints: Vec<String>,
}

/// What these begin with.
pub const PREFIX: &str = "OTEL_";

impl Environment {
    /// Reads variables, of which those of others are passed over. An empty one is none.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
        let mut read = Environment::default();
        let mut sampler = (None, None);
        for (name, value) in variables.into_iter().filter(|(_, value)| !value.is_empty()) {
            match &*name {
                "OTEL_SDK_DISABLED" => read.is_off |= value.eq_ignore_ascii_case("true"),
                "OTEL_TRACES_EXPORTER" => read.exporters(&value),
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => read.endpoint = Some(value),
                "OTEL_EXPORTER_OTLP_ENDPOINT" => read.endpoint = read.endpoint.or(Some(value)),
                "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE" => read.certificate = Some(value),
                "OTEL_EXPORTER_OTLP_CERTIFICATE" => read.certificate = read.certificate.or(Some(value)),
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" => read.protocol = read.protocol(&name, &value).or(read.protocol),
                "OTEL_EXPORTER_OTLP_PROTOCOL" => read.protocol = read.protocol.or(read.protocol(&name, &value)),
                "OTEL_TRACES_SAMPLER" => sampler.0 = Some(value),
                "OTEL_TRACES_SAMPLER_ARG" => sampler.1 = Some(value),
                "OTEL_PROPAGATORS" => read.propagators = Some(value.split(',').map(str::to_owned).collect()),
                "OTEL_SERVICE_NAME" => read.names_service = true,
                "OTEL_RESOURCE_ATTRIBUTES" => read.names_service |= names_service(&value),
                _ => {}
            }
        }
        if let (Some(name), argument) = sampler {
            read.sampler(&name, argument.as_deref());
        }
        read
    }

    fn exporters(&mut self, value: &str) {
        match value {
            "none" => self.is_off = true,
            "otlp" => {}
            other => {
                self.complaints.push(format!("OTEL_TRACES_EXPORTER: {other:?} is not served, allowed is otlp or none"))
            }
        }
    }

    fn protocol(&mut self, name: &str, value: &str) -> Option<Protocol> {
        match value {
            "grpc" => Some(Protocol::Grpc),
            "http/protobuf" => Some(Protocol::Http),
            other => {
                self.complaints.push(format!("{name}: {other:?} is not served, allowed is grpc or http/protobuf"));
                None
            }
        }
    }

    fn sampler(&mut self, name: &str, argument: Option<&str>) {
        let (kind, parent_based) = match name.strip_prefix("parentbased_") {
            Some(kind) => (kind, true),
            None => (name, false),
        };
        let ratio = match kind {
            "always_on" => 1.0,
            // Not even those that fail.
            "always_off" if !parent_based => return self.is_off = true,
            "always_off" => 0.0,
            "traceidratio" => self.ratio(argument),
            _ => return self.complaints.push(format!("OTEL_TRACES_SAMPLER: {name:?} is not known")),
        };
        self.sampler = Some(Sampler { ratio, parent_based });
    }

    fn ratio(&mut self, argument: Option<&str>) -> f64 {
        let Some(argument) = argument else { return 1.0 };
        argument.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).unwrap_or_else(|| {
            self.complaints
                .push(format!("OTEL_TRACES_SAMPLER_ARG: {argument:?} is no part from 0 to 1, all are recorded"));
            1.0
        })
    }
}

fn names_service(attributes: &str) -> bool {
    attributes.split(',').any(|attribute| attribute.split('=').next().is_some_and(|key| key.trim() == "service.name"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(variables: &[(&str, &str)]) -> Environment {
        Environment::read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn samplers_are_known_by_their_names() {
        let of = |name, argument| {
            let read = of(&[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
            (read.sampler.map(|sampler| (sampler.ratio, sampler.parent_based)), read.is_off, read.complaints.len())
        };
        assert_eq!(of("parentbased_traceidratio", "0.25"), (Some((0.25, true)), false, 0));
        assert_eq!(of("traceidratio", ""), (Some((1.0, false)), false, 0));
        assert_eq!(of("always_on", ""), (Some((1.0, false)), false, 0));
        assert_eq!(of("parentbased_always_off", ""), (Some((0.0, true)), false, 0));
        assert_eq!(of("always_off", ""), (None, true, 0));
        assert_eq!(of("traceidratio", "7"), (Some((1.0, false)), false, 1));
        assert_eq!(of("jaeger_remote", ""), (None, false, 1));
    }

    #[test]
    fn the_variable_of_traces_goes_before_that_of_all_signals_in_any_order() {
        let (all, own) =
            (("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"));
        assert_eq!(of(&[all, own]).protocol, Some(Protocol::Http));
        assert_eq!(of(&[own, all]).protocol, Some(Protocol::Http));
        assert_eq!(of(&[all]).protocol, Some(Protocol::Grpc));
        let json = of(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]);
        assert_eq!((json.protocol, json.complaints.len()), (None, 1));
    }

    #[test]
    fn empty_variables_and_those_of_others_say_nothing() {
        let empty = of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_SDK_DISABLED", "false"), ("PATH", "/bin")]);
        assert_eq!(empty, Environment::default());
        assert!(of(&[("OTEL_SDK_DISABLED", "True")]).is_off && of(&[("OTEL_TRACES_EXPORTER", "none")]).is_off);
        assert!(of(&[("OTEL_RESOURCE_ATTRIBUTES", "a=1, service.name=x")]).names_service);
        assert!(!of(&[("OTEL_RESOURCE_ATTRIBUTES", "service.names=x")]).names_service);
    }

    proptest! {
        #[test]
        fn any_values_are_read_without_a_panic(
            name in prop::sample::select(vec!["SAMPLER", "SAMPLER_ARG", "EXPORTER", "PROPAGATORS"]),
            value in "\\PC{0,30}",
        ) {
            _ = of(&[(&format!("OTEL_TRACES_{name}"), &value), ("OTEL_PROPAGATORS", &value)]);
        }
    }
}
