//! What OpenTelemetry's own variables say of traces. Each is weaker than the configuration's own key.

use super::sampler::Sampler;
use crate::observe::otlp::{Exports, Signal, Variables};

/// What the variables say; what they leave open is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Environment {
    /// How spans are sent.
    pub exports: Exports,
    /// How many calls are recorded.
    pub sampler: Option<Sampler>,
    /// In which forms traces are read and written, by their names.
    pub propagators: Option<Vec<String>>,
}

impl Environment {
    /// Reads them.
    pub fn read(variables: &Variables) -> Environment {
        let mut read = Environment { exports: Exports::of(Signal::Traces, variables), ..Environment::default() };
        variables.get("TRACES_EXPORTER").into_iter().for_each(|value| read.exporters(value));
        read.propagators = variables.get("PROPAGATORS").map(|value| value.split(',').map(str::to_owned).collect());
        if let Some(name) = variables.get("TRACES_SAMPLER") {
            read.sampler(name, variables.get("TRACES_SAMPLER_ARG"));
        }
        read
    }

    fn exporters(&mut self, value: &str) {
        match value {
            "none" => self.exports.is_off = true,
            "otlp" => {}
            other => {
                let what = format!("OTEL_TRACES_EXPORTER: {other:?} is not served, allowed is otlp or none");
                self.exports.complain(what);
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
            "always_off" if !parent_based => return self.exports.is_off = true,
            "always_off" => 0.0,
            "traceidratio" => self.ratio(argument),
            _ => return self.exports.complain(format!("OTEL_TRACES_SAMPLER: {name:?} is not known")),
        };
        self.sampler = Some(Sampler { ratio, parent_based });
    }

    fn ratio(&mut self, argument: Option<&str>) -> f64 {
        let Some(argument) = argument else { return 1.0 };
        argument.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).unwrap_or_else(|| {
            let what = format!("OTEL_TRACES_SAMPLER_ARG: {argument:?} is no part from 0 to 1, all are recorded");
            self.exports.complain(what);
            1.0
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Environment::read(&Variables::of(variables))
    }

    #[test]
    fn samplers_are_known_by_their_names() {
        let of = |name, argument| {
            let read = of(&[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
            let sampler = read.sampler.map(|sampler| (sampler.ratio, sampler.parent_based));
            (sampler, read.exports.is_off, read.exports.complaints.len())
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
    fn who_wants_no_exporter_turns_traces_off_and_one_that_is_not_known_is_complained_of() {
        assert_eq!(of(&[("PATH", "/bin"), ("OTEL_TRACES_SAMPLER", "")]), Environment::default());
        let of = |exporter| of(&[("OTEL_TRACES_EXPORTER", exporter)]).exports;
        assert_eq!((of("none").is_off, of("otlp").is_off, of("zipkin").is_off), (true, false, false));
        assert_eq!((of("otlp").complaints.len(), of("zipkin").complaints.len()), (0, 1));
    }

    proptest! {
        #[test]
        fn any_values_are_read_without_a_panic(
            name in prop::sample::select(vec!["TRACES_SAMPLER", "TRACES_SAMPLER_ARG", "TRACES_EXPORTER", "PROPAGATORS"]),
            value in "\\PC{0,30}",
        ) {
            _ = of(&[(&format!("OTEL_{name}"), &value)]);
        }
    }
}
