//! What OpenTelemetry's own variables say of a collector. Each is weaker than the configuration's own key.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::Signal;

/// How messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, as Protobuf.
    Http,
}

/// Where a collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// As it was given.
    pub text: String,
    /// Whether it is that of all signals, beneath which that of each is.
    pub is_base: bool,
}

/// The attribute that names a process's kind among others.
pub const SERVICE_NAME: &str = "service.name";

/// What these begin with.
pub const PREFIX: &str = "OTEL_";

/// The variables of a process. An empty one is none, and those of others are passed over.
#[derive(Debug, Clone, Default)]
pub struct Variables(HashMap<String, String>);

impl Variables {
    /// Those of `variables`.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Variables {
        let own = variables.into_iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(PREFIX)?;
            (!value.trim().is_empty()).then(|| (name.to_owned(), value))
        });
        Variables(own.collect())
    }

    /// The value of one, whose name is told without its prefix.
    pub(in crate::observe) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Of an exporter: its own, or with `true` that of all signals.
    fn of_exporter(&self, signal: Signal, name: &str) -> Option<(&str, bool)> {
        let own = self.get(&format!("EXPORTER_OTLP_{}_{name}", signal.name())).map(|value| (value, false));
        own.or_else(|| self.get(&format!("EXPORTER_OTLP_{name}")).map(|value| (value, true)))
    }
}

/// What they say of sending one signal; what they leave open is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exports {
    /// Whether they turn all of it off.
    pub is_off: bool,
    /// The collector.
    pub endpoint: Option<Address>,
    /// The authorities that its certificate must come from.
    pub certificate: Option<String>,
    /// How messages are sent.
    pub protocol: Option<Protocol>,
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

impl Exports {
    /// What is said of that signal.
    pub fn of(signal: Signal, variables: &Variables) -> Exports {
        let is_off = variables.get("SDK_DISABLED").is_some_and(is_true);
        let mut exports = Exports { is_off, resource: resource(variables), ..Exports::default() };
        let take = |name: &str| variables.of_exporter(signal, name);
        exports.certificate = take("CERTIFICATE").map(|(value, _)| value.to_owned());
        exports.protocol = take("PROTOCOL").and_then(|(value, _)| exports.protocol(value));
        let scheme = if take("INSECURE").is_some_and(|(value, _)| is_true(value)) { "http://" } else { "https://" };
        exports.endpoint = take("ENDPOINT").map(|(value, is_base)| {
            let text = if value.contains("://") { value.to_owned() } else { format!("{scheme}{value}") };
            Address { text, is_base }
        });
        take("HEADERS").into_iter().for_each(|(value, _)| exports.headers(value));
        exports.timeout = take("TIMEOUT").and_then(|(value, _)| exports.millis("EXPORTER_OTLP_TIMEOUT", value));
        exports.is_gzipped = take("COMPRESSION").is_some_and(|(value, _)| exports.is_gzipped(value));
        exports
    }

    fn headers(&mut self, value: &str) {
        for (name, value) in pairs(value) {
            match (HeaderName::try_from(&name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => _ = self.headers.insert(name, value),
                // Not with its value, which may be a secret.
                _ => self.complain(format!("OTEL_EXPORTER_OTLP_HEADERS: {name:?} is no header")),
            }
        }
    }

    /// A number of milliseconds, as the variable of that name has it.
    pub(in crate::observe) fn millis(&mut self, name: &str, value: &str) -> Option<Duration> {
        match value.trim().parse() {
            Ok(millis) => Some(Duration::from_millis(millis)),
            Err(_) => {
                self.complain(format!("{PREFIX}{name}: {value:?} is no number of milliseconds"));
                None
            }
        }
    }

    fn protocol(&mut self, value: &str) -> Option<Protocol> {
        match value {
            "grpc" => Some(Protocol::Grpc),
            "http/protobuf" => Some(Protocol::Http),
            other => {
                let allowed = "allowed is grpc or http/protobuf";
                self.complain(format!("OTEL_EXPORTER_OTLP_PROTOCOL: {other:?} is not served, {allowed}"));
                None
            }
        }
    }

    fn is_gzipped(&mut self, value: &str) -> bool {
        if !matches!(value, "gzip" | "none") {
            let what = format!("OTEL_EXPORTER_OTLP_COMPRESSION: {value:?} is not served, allowed is gzip or none");
            self.complain(what);
        }
        value == "gzip"
    }

    pub(in crate::observe) fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }
}

fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

fn resource(variables: &Variables) -> Vec<(String, String)> {
    let mut resource: Vec<_> = variables.get("RESOURCE_ATTRIBUTES").into_iter().flat_map(pairs).collect();
    if let Some(service) = variables.get("SERVICE_NAME") {
        resource.retain(|(name, _)| name != SERVICE_NAME);
        resource.push((SERVICE_NAME.to_owned(), service.to_owned()));
    }
    resource
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

    fn of(variables: &[(&str, &str)]) -> Exports {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Exports::of(Signal::Traces, &Variables::of(variables))
    }

    #[test]
    fn the_variable_of_a_signal_goes_before_that_of_all_and_that_of_another_says_nothing() {
        let (all, own) =
            (("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"));
        assert_eq!(of(&[all, own]).protocol, Some(Protocol::Http));
        assert_eq!(of(&[own, all]).protocol, Some(Protocol::Http));
        assert_eq!(of(&[all]).protocol, Some(Protocol::Grpc));
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc")]).protocol, None);
        let json = of(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]);
        assert_eq!((json.protocol, json.complaints.len()), (None, 1));
    }

    #[test]
    fn empty_variables_and_those_of_others_say_nothing() {
        let empty = of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_SDK_DISABLED", "false"), ("PATH", "/bin")]);
        assert_eq!(empty, Exports::default());
        assert!(of(&[("OTEL_SDK_DISABLED", "True")]).is_off);
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
            name in prop::sample::select(vec!["RESOURCE_ATTRIBUTES", "EXPORTER_OTLP_HEADERS", "EXPORTER_OTLP_ENDPOINT",
                "EXPORTER_OTLP_TIMEOUT"]),
            value in "\\PC{0,30}",
        ) {
            _ = of(&[(&format!("OTEL_{name}"), &value)]);
        }
    }
}
