//! What OpenTelemetry's own variables say of metrics. Each is weaker than the configuration's own key.

use std::time::Duration;

use super::message::Histograms;
use crate::observe::otlp::{Exports, Signal, Variables};

/// What the variables say; what they leave open is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Environment {
    /// How metrics are sent.
    pub exports: Exports,
    /// Whether they name any exporter, so that they mean metrics.
    pub is_meant: bool,
    /// Whether they ask for pushes by name.
    pub is_asked: bool,
    /// The time between two pushes.
    pub interval: Option<Duration>,
    /// How long one may take.
    pub timeout: Option<Duration>,
    /// In which form histograms are told that have two.
    pub histograms: Histograms,
}

impl Environment {
    /// Reads them.
    pub fn read(variables: &Variables) -> Environment {
        let mut read = Environment { exports: Exports::of(Signal::Metrics, variables), ..Environment::default() };
        variables.get("METRICS_EXPORTER").into_iter().for_each(|value| read.exporters(value));
        read.interval = read.some_time("METRIC_EXPORT_INTERVAL", variables);
        read.timeout = read.some_time("METRIC_EXPORT_TIMEOUT", variables);
        let preference = variables.get("EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE");
        preference.into_iter().for_each(|value| read.temporality(value));
        let aggregation = variables.get("EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION");
        aggregation.into_iter().for_each(|value| read.aggregation(value));
        read
    }

    /// A list, since what is told at /metrics is told to who comes there in any case.
    fn exporters(&mut self, value: &str) {
        let named: Vec<&str> = value.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        for other in named.iter().filter(|name| !matches!(**name, "otlp" | "prometheus" | "none")) {
            let what = format!("OTEL_METRICS_EXPORTER: {other:?} is not served, allowed is otlp, prometheus or none");
            self.exports.complain(what);
        }
        self.is_meant = true;
        self.is_asked = named.contains(&"otlp");
        self.exports.is_off |= !self.is_asked;
    }

    fn some_time(&mut self, name: &str, variables: &Variables) -> Option<Duration> {
        let time = self.exports.millis(name, variables.get(name)?)?;
        if time.is_zero() {
            self.exports.complain(format!("OTEL_{name}: 0 is no time"));
        }
        Some(time).filter(|time| !time.is_zero())
    }

    fn temporality(&mut self, value: &str) {
        if !value.eq_ignore_ascii_case("cumulative") {
            let what = format!("{value:?} is not served, what is pushed is cumulative");
            self.exports.complain(format!("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: {what}"));
        }
    }

    fn aggregation(&mut self, value: &str) {
        self.histograms = match &*value.to_ascii_lowercase() {
            "explicit_bucket_histogram" => Histograms::Explicit,
            "base2_exponential_bucket_histogram" => Histograms::Exponential,
            _ => {
                let allowed = "allowed is explicit_bucket_histogram or base2_exponential_bucket_histogram";
                let what = format!("{value:?} is not known, {allowed}");
                let name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
                return self.exports.complain(format!("{name}: {what}"));
            }
        };
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
    fn pushes_are_asked_for_by_name_and_turned_off_by_any_other() {
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a")]), Environment::default());
        let of = |exporters| {
            let read = of(&[("OTEL_METRICS_EXPORTER", exporters)]);
            (read.is_asked, read.exports.is_off, read.exports.complaints.len())
        };
        assert_eq!(of("otlp"), (true, false, 0));
        assert_eq!(of("prometheus, otlp"), (true, false, 0));
        assert_eq!(of("prometheus"), (false, true, 0));
        assert_eq!(of("none"), (false, true, 0));
        assert_eq!(of("console"), (false, true, 1));
    }

    #[test]
    fn what_is_said_of_pushes_is_read_or_complained_of() {
        let read = of(&[
            ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
            ("OTEL_METRIC_EXPORT_TIMEOUT", "300"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Cumulative"),
            ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
        ]);
        assert_eq!(read.interval.zip(read.timeout), Some((Duration::from_secs(5), Duration::from_millis(300))));
        assert_eq!((read.histograms, read.exports.complaints.len()), (Histograms::Exponential, 0));
        let read = of(&[
            ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
            ("OTEL_METRIC_EXPORT_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
            ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "summary"),
        ]);
        let untouched = Environment { exports: read.exports.clone(), ..Environment::default() };
        assert_eq!((&read, read.exports.complaints.len()), (&untouched, 4));
    }

    proptest! {
        #[test]
        fn any_values_are_read_without_a_panic(
            name in prop::sample::select(vec!["METRICS_EXPORTER", "METRIC_EXPORT_INTERVAL", "METRIC_EXPORT_TIMEOUT"]),
            value in "\\PC{0,30}",
        ) {
            _ = of(&[(&format!("OTEL_{name}"), &value)]);
        }
    }
}
