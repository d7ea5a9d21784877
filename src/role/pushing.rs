//! Pushes of metrics as the configuration and OpenTelemetry's variables ask for them; the configuration goes before.

use std::time::Duration;

use super::StartError;
use super::collector::{Own, Service, collector};
use crate::config::Config;
use crate::observe::otlp::{Collector, Signal, Variables};
use crate::observe::push::{Environment, Push, Rules};

/// The time between two pushes, and how long one may take, where nobody says another.
const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Pushes of this process, where anybody asks for some. Runs on the runtime that it is called in.
///
/// # Errors
/// What is wrong with the collector's address.
pub(super) fn pushing(config: &Config, variables: &Variables, service: Service) -> Result<Option<Push>, StartError> {
    let environment = Environment::read(variables);
    let plan = plan(config, &environment, service);
    if plan.is_some() || environment.is_meant {
        environment.exports.complaints.iter().for_each(|complaint| tracing::warn!(complaint, "metrics"));
    }
    let Some((rules, collector)) = plan else {
        if environment.is_asked && !environment.exports.is_off {
            tracing::warn!("OTEL_METRICS_EXPORTER: otlp is asked for, and no collector is named");
        }
        return Ok(None);
    };
    let wrong = |what| StartError::Key { key: "metrics.endpoint", what };
    Push::to(rules, &collector).map(Some).map_err(wrong)
}

/// Where they go and how; none where nobody names a collector for metrics. One that is named for all signals is not enough:
/// who had it for traces would find metrics there that it may have no room for.
fn plan(config: &Config, environment: &Environment, service: Service) -> Option<(Rules, Collector)> {
    let (own, exports) = (&config.metrics, &environment.exports);
    let is_named = exports.endpoint.as_ref().is_some_and(|address| !address.is_base || environment.is_asked);
    if exports.is_off || (own.endpoint.is_none() && !is_named) {
        return None;
    }
    let to = Own { endpoint: own.endpoint.as_deref(), ca: own.ca.as_ref(), protocol: own.protocol };
    let collector = collector(Signal::Metrics, to, exports, service)?;
    let own_interval = own.interval.map(|interval| interval.get());
    let interval = own_interval.or(environment.interval).unwrap_or(INTERVAL);
    let timeout = environment.timeout.unwrap_or(TIMEOUT);
    Some((Rules { interval, timeout, histograms: environment.histograms }, collector))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ExportProtocol, Period};
    use crate::observe::otlp::Protocol;
    use crate::observe::push::Histograms;

    const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere:4317");
    const OWN: (&str, &str) = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:4318/take");
    const ASKED: (&str, &str) = ("OTEL_METRICS_EXPORTER", "otlp");

    fn planned(config: &Config, variables: &[(&str, &str)]) -> Option<(Rules, Collector)> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        plan(config, &Environment::read(&Variables::of(variables)), Service::called("x"))
    }

    #[test]
    fn who_named_a_collector_for_traces_is_pushed_nothing_until_metrics_are_asked_for() {
        let mut config = Config::default();
        assert_eq!(planned(&config, &[]), None);
        assert_eq!(planned(&config, &[ALL]), None);
        assert_eq!(planned(&config, &[ASKED]), None);
        assert_eq!(planned(&config, &[ALL, ASKED]).unwrap().1.endpoint, ALL.1);
        assert_eq!(planned(&config, &[ALL, OWN]).unwrap().1.endpoint, OWN.1);
        assert_eq!(planned(&config, &[OWN, ("OTEL_METRICS_EXPORTER", "prometheus")]), None);
        assert_eq!(planned(&config, &[OWN, ("OTEL_SDK_DISABLED", "true")]), None);
        config.metrics.endpoint = Some("http://here:4317".to_owned());
        assert_eq!(planned(&config, &[ALL]).unwrap().1.endpoint, "http://here:4317");
        assert_eq!(planned(&config, &[("OTEL_METRICS_EXPORTER", "none")]), None);
    }

    #[test]
    fn keys_of_our_own_go_before_variables_and_what_nobody_says_is_usual() {
        let mut config = Config::default();
        let (rules, collector) = planned(&config, &[OWN]).unwrap();
        assert_eq!(rules, Rules { interval: INTERVAL, timeout: TIMEOUT, histograms: Histograms::Explicit });
        assert_eq!(collector.protocol, Protocol::Grpc);
        let said =
            [ALL, ASKED, ("OTEL_METRIC_EXPORT_INTERVAL", "5000"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
        let (rules, collector) = planned(&config, &said).unwrap();
        assert_eq!((rules.interval, collector.protocol), (Duration::from_secs(5), Protocol::Http));
        assert_eq!(collector.endpoint, "http://elsewhere:4317/v1/metrics");
        config.metrics.interval = Some(Period::seconds(7));
        config.metrics.protocol = Some(ExportProtocol::Grpc);
        let (rules, collector) = planned(&config, &said).unwrap();
        assert_eq!((rules.interval, collector.protocol), (Duration::from_secs(7), Protocol::Grpc));
    }

    #[tokio::test]
    async fn what_cannot_be_sent_to_is_refused_when_the_process_starts() {
        let mut config = Config::default();
        config.metrics.endpoint = Some("ftp://here:4318".to_owned());
        config.metrics.protocol = Some(ExportProtocol::Http);
        let refused = pushing(&config, &Variables::default(), Service::called("x")).err().unwrap();
        assert!(refused.is_wrong_use() && refused.to_string().starts_with("metrics.endpoint: "), "{refused}");
    }
}
