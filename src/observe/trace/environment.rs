//! What OpenTelemetry's own variables say. Each is weaker than the configuration's own key.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

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
    pub endpoint: Option<Address>,
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
    /// What is said with each message.
    pub headers: HeaderMap,
    /// How long it may take until a message is taken.
    pub timeout: Option<Duration>,
    /// Whether messages are compressed, by gzip.
    pub is_gzipped: bool,
    /// What is told of this process.
    pub resource: Vec<(String, String)>,
    /// What cannot be used, one sentence each. It is left out, as the specification asks.
    pub complaints: Vec<String>,
}

/// Where a collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// As it was given.
    pub text: String,
    /// Whether it is that of all signals, beneath which that of traces is.
    pub is_base: bool,
}

/// The attribute that names a process's kind among others.
pub const SERVICE_NAME: &str = "service.name";

/// What these begin with.
pub const PREFIX: &str = "OTEL_";

impl Environment {
    /// Reads variables, of which those of others are passed over. An empty one is none.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
        let mut all: HashMap<String, String> =
            variables.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        let mut take = |name: &str| all.remove(&format!("{PREFIX}{name}"));
        let is_off = take("SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let mut read = Environment { is_off, ..Environment::default() };
        take("TRACES_EXPORTER").into_iter().for_each(|value| read.exporters(&value));
        read.propagators = take("PROPAGATORS").map(|value| value.split(',').map(str::to_owned).collect());
        if let Some(name) = take("TRACES_SAMPLER") {
            read.sampler(&name, take("TRACES_SAMPLER_ARG").as_deref());
        }
        read.resource = take("RESOURCE_ATTRIBUTES").iter().flat_map(|value| pairs(value)).collect();
        if let Some(service) = take("SERVICE_NAME") {
            read.resource.retain(|(name, _)| name != SERVICE_NAME);
            read.resource.push((SERVICE_NAME.to_owned(), service));
        }
        read.exports(|name| {
            let own = take(&format!("EXPORTER_OTLP_TRACES_{name}")).map(|value| (value, false));
            own.or_else(|| take(&format!("EXPORTER_OTLP_{name}")).map(|value| (value, true)))
        });
        read
    }

    /// Reads what is said of the exporter of traces, or with `true` of those of all signals.
    fn exports(&mut self, mut take: impl FnMut(&str) -> Option<(String, bool)>) {
        self.certificate = take("CERTIFICATE").map(|(value, _)| value);
        self.protocol = take("PROTOCOL").and_then(|(value, _)| self.protocol(&value));
        let is_plain = take("INSECURE").is_some_and(|(value, _)| value.eq_ignore_ascii_case("true"));
        self.endpoint = take("ENDPOINT").map(|(value, is_base)| {
            let scheme = if is_plain { "http://" } else { "https://" };
            let text = if value.contains("://") { value } else { format!("{scheme}{value}") };
            Address { text, is_base }
        });
        take("HEADERS").into_iter().for_each(|(value, _)| self.headers(&value));
        self.timeout = take("TIMEOUT").and_then(|(value, _)| match value.trim().parse() {
            Ok(millis) => Some(Duration::from_millis(millis)),
            Err(_) => self.complain(format!("OTEL_EXPORTER_OTLP_TIMEOUT: {value:?} is no number of milliseconds")),
        });
        self.is_gzipped = take("COMPRESSION").is_some_and(|(value, _)| match &*value {
            "gzip" => true,
            "none" => false,
            other => {
                let what = format!("OTEL_EXPORTER_OTLP_COMPRESSION: {other:?} is not served, allowed is gzip or none");
                self.complain::<()>(what);
                false
            }
        });
    }

    fn headers(&mut self, value: &str) {
        for (name, value) in pairs(value) {
            match (HeaderName::try_from(&name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => _ = self.headers.insert(name, value),
                // Not with its value, which may be a secret.
                _ => _ = self.complain::<()>(format!("OTEL_EXPORTER_OTLP_HEADERS: {name:?} is no header")),
            }
        }
    }

    fn complain<T>(&mut self, what: String) -> Option<T> {
        self.complaints.push(what);
        None
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

    fn protocol(&mut self, value: &str) -> Option<Protocol> {
        match value {
            "grpc" => Some(Protocol::Grpc),
            "http/protobuf" => Some(Protocol::Http),
            other => self.complain(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL: {other:?} is not served, allowed is grpc or http/protobuf"
            )),
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

/// `name=value,…`, values with percent signs where they need them.
fn pairs(list: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = list.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), percent_decode_str(value.trim()).decode_utf8_lossy().into()))
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
    }

    #[test]
    fn a_process_is_what_its_attributes_say_and_a_name_of_its_own_goes_before() {
        let named = ("OTEL_RESOURCE_ATTRIBUTES", "a=1%2C2, service.name=x,junk");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(of(&[named]).resource, [pair("a", "1,2"), pair("service.name", "x")]);
        let both = of(&[named, ("OTEL_SERVICE_NAME", "y")]);
        assert_eq!(both.resource, [pair("a", "1,2"), pair("service.name", "y")]);
    }

    #[test]
    fn what_is_said_of_the_exporter_is_read_or_complained_of() {
        let read = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x y=secret"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ]);
        assert_eq!(read.endpoint, Some(Address { text: "http://collector:4317".to_owned(), is_base: true }));
        assert_eq!((read.headers.len(), &read.headers["api-key"]), (1, &HeaderValue::from_static("a b")));
        assert_eq!((read.timeout, read.is_gzipped), (Some(Duration::from_millis(2500)), true));
        assert!(read.complaints.len() == 1 && !read.complaints[0].contains("secret"), "{:?}", read.complaints);
        let read = of(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/x"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ]);
        assert_eq!(read.endpoint, Some(Address { text: "http://a/x".to_owned(), is_base: false }));
        assert_eq!((read.timeout, read.is_gzipped, read.complaints.len()), (None, false, 2));
    }

    proptest! {
        #[test]
        fn any_values_are_read_without_a_panic(
            name in prop::sample::select(vec!["TRACES_SAMPLER", "TRACES_SAMPLER_ARG", "TRACES_EXPORTER", "PROPAGATORS",
                "RESOURCE_ATTRIBUTES", "EXPORTER_OTLP_HEADERS", "EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_TIMEOUT"]),
            value in "\\PC{0,30}",
        ) {
            _ = of(&[(&format!("OTEL_{name}"), &value)]);
        }
    }
}
