//! The numbers of models by Triton's names, for dashboards that were made for those.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::batches::text;
use super::statistics::{ModelTotals, StatisticsTable, Total};

/// Tells statistics as Triton does: labels `model` and `version`, times in microseconds since the start.
#[derive(Debug)]
pub(super) struct Triton(pub(super) Arc<StatisticsTable>);

type Number = fn(&ModelTotals) -> u64;

/// Of times those of answered calls, as Triton has them.
const NUMBERS: [(&str, &str, Number); 9] = [
    ("nv_inference_request_success", "Calls that were answered", |totals| totals.success.count),
    ("nv_inference_request_failure", "Calls that failed", |totals| totals.fail.count),
    ("nv_inference_count", "Rows of the calls that were answered", |totals| totals.inferences),
    ("nv_inference_exec_count", "Runs of the engine", |totals| totals.executions),
    ("nv_inference_request_duration_us", "Time of calls from the door to the answer", |totals| micros(totals.success)),
    ("nv_inference_queue_duration_us", "Time of calls in the queue", |totals| micros(totals.queue)),
    ("nv_inference_compute_input_duration_us", "Time in which inputs were laid out", |totals| micros(totals.merge)),
    ("nv_inference_compute_infer_duration_us", "Time in which the engine ran", |totals| micros(totals.execute)),
    ("nv_inference_compute_output_duration_us", "Time in which outputs were cut", |totals| micros(totals.split)),
];

fn micros(total: Total) -> u64 {
    Duration::as_micros(&total.time) as u64
}

impl Collector for Triton {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let all: Vec<_> =
            self.0.all().into_iter().map(|(model, version, numbers)| (model, text(version), numbers)).collect();
        let totals: Vec<ModelTotals> = all.iter().map(|(_, _, statistics)| statistics.totals()).collect();
        for (name, help, number) in NUMBERS {
            // No counter: the names of those end with `_total` here, and Triton's do not.
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
            for ((model, version, _), totals) in all.iter().zip(&totals) {
                let labels = [("model", model.as_str()), ("version", version)];
                family.encode_family(&labels)?.encode_gauge(&number(totals))?;
            }
        }
        let (name, help) = ("nv_inference_pending_request_count", "Calls that wait for the engine");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (model, version, statistics) in &all {
            let labels = [("model", model.as_str()), ("version", version)];
            family.encode_family(&labels)?.encode_gauge(&statistics.queue().waiting_now())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tower::Service;

    use super::super::{Counted, Metrics};
    use super::*;
    use crate::error::{Error, Kind};
    use crate::infer::{InferRequest, Member, Target, Timeline, Version, VersionChoice};

    #[tokio::test]
    async fn what_is_told_by_our_names_is_told_by_those_of_triton() {
        let table = Arc::new(StatisticsTable::default());
        let (model, version) = ("m".parse().unwrap(), Version::new(2).unwrap());
        let statistics = table.of(&model, version);
        statistics.queue().waiting(3);
        let fails = tower::service_fn(|_| async { Err(Error::new(Kind::Engine, "it failed")) });
        let now = std::time::Instant::now();
        let member = Member {
            id: Default::default(),
            deadline: now,
            trace: None,
            previous_attempts: 0,
            timeline: Timeline::start(now),
        };
        let request = InferRequest::new(Target { name: model, version: VersionChoice::Latest }, [], member);
        assert!(Counted::new(statistics.clone(), fails).call(request).await.is_err());
        let text = Metrics::new(table.clone()).with_triton_names(table).text();
        for line in [
            "# TYPE nv_inference_request_failure unknown",
            "nv_inference_request_failure{model=\"m\",version=\"2\"} 1",
            "nv_inference_request_success{model=\"m\",version=\"2\"} 0",
            "nv_inference_compute_infer_duration_us{model=\"m\",version=\"2\"} 0",
            "nv_inference_pending_request_count{model=\"m\",version=\"2\"} 3",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }
}
