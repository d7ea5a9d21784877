//! What `models` shows, drawn from data.

use serde_json::{Value, json};
use tonic::Status;

use crate::cli::table::{plain, table};
use crate::tensor::{Signature, TensorSpec};
use crate::wire::proto::inference::repository_index_response::ModelIndex;
use crate::wire::proto::inference::{ModelStatistics, StatisticDuration};
use crate::wire::status::code_name;

/// A version of a model, or a model of which no version is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The model's name.
    pub name: String,
    /// The version; empty where none is known.
    pub version: String,
    /// Its state, such as `READY`.
    pub state: String,
    /// Why it is in that state.
    pub reason: String,
}

impl From<ModelIndex> for Entry {
    fn from(ModelIndex { name, version, state, reason, .. }: ModelIndex) -> Entry {
        Entry { name, version, state, reason }
    }
}

impl Entry {
    /// What a server said when it was asked whether a version is ready.
    pub fn asked(name: &str, version: &str, ready: Result<bool, Status>) -> Entry {
        let (state, reason) = match ready {
            Ok(true) => ("READY", String::new()),
            Ok(false) => ("UNAVAILABLE", String::new()),
            Err(status) => ("UNKNOWN", format!("{} ({})", status.message(), code_name(status.code()))),
        };
        Entry { name: name.to_owned(), version: version.to_owned(), state: state.to_owned(), reason }
    }

    fn cells(&self) -> [String; 4] {
        [&self.name, &self.version, &self.state, &self.reason].map(|text| plain(text))
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "version": self.version, "state": self.state, "reason": self.reason })
    }
}

/// What is known of one model beyond its entries.
#[derive(Debug)]
pub struct Detail {
    /// What runs it.
    pub platform: String,
    /// What it takes and gives.
    pub signature: Signature,
    /// What its versions have done, where the server counts.
    pub statistics: Vec<ModelStatistics>,
}

/// Models, and the detail of one where it was asked for.
#[derive(Debug)]
pub struct Listing {
    /// The models' versions.
    pub entries: Vec<Entry>,
    /// The detail.
    pub detail: Option<Detail>,
}

impl Listing {
    /// As text.
    pub fn text(&self) -> String {
        if self.entries.is_empty() {
            return "no model is known\n".into();
        }
        let mut text = table(["MODEL", "VERSION", "STATE", "REASON"], self.entries.iter().map(Entry::cells));
        if let Some(Detail { signature, statistics, .. }) = &self.detail {
            text = [text, specs("INPUT", &signature.inputs), specs("OUTPUT", &signature.outputs)].join("\n");
            if !statistics.is_empty() {
                text = [text, counts(statistics)].join("\n");
            }
        }
        text
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let mut object = json!({ "models": self.entries.iter().map(Entry::json).collect::<Value>() });
        if let Some(Detail { platform, signature, statistics }) = &self.detail {
            object["platform"] = json!(platform);
            object["inputs"] = signature.inputs.iter().map(spec_json).collect();
            object["outputs"] = signature.outputs.iter().map(spec_json).collect();
            object["statistics"] = statistics.iter().map(count_json).collect();
        }
        object
    }
}

fn specs(kind: &str, specs: &[TensorSpec]) -> String {
    let cells = |spec: &TensorSpec| [plain(&spec.name), spec.dtype.to_string(), spec.to_string()];
    table([kind, "DATATYPE", "SHAPE"], specs.iter().map(cells))
}

fn spec_json(spec: &TensorSpec) -> Value {
    let shape: Vec<i64> = spec.dims.iter().map(|dim| dim.wire()).collect();
    json!({ "name": &*spec.name, "datatype": spec.dtype.name(), "shape": shape })
}

/// What a version has done. Times are means of one call each.
struct Counts {
    answered: u64,
    failed: u64,
    rows: u64,
    runs: u64,
    queue_ms: f64,
    execute_ms: f64,
}

impl Counts {
    fn of(statistics: &ModelStatistics) -> Counts {
        let stats = statistics.inference_stats.as_ref();
        let count = |duration: Option<&StatisticDuration>| duration.map_or(0, |duration| duration.count);
        Counts {
            answered: count(stats.and_then(|stats| stats.success.as_ref())),
            failed: count(stats.and_then(|stats| stats.fail.as_ref())),
            rows: statistics.inference_count,
            runs: statistics.execution_count,
            queue_ms: mean_ms(stats.and_then(|stats| stats.queue.as_ref())),
            execute_ms: mean_ms(stats.and_then(|stats| stats.compute_infer.as_ref())),
        }
    }

    fn rows_a_run(&self) -> f64 {
        if self.runs == 0 { 0.0 } else { self.rows as f64 / self.runs as f64 }
    }
}

fn mean_ms(duration: Option<&StatisticDuration>) -> f64 {
    match duration {
        Some(duration) if duration.count > 0 => duration.ns as f64 / duration.count as f64 / 1e6,
        _ => 0.0,
    }
}

fn counts(statistics: &[ModelStatistics]) -> String {
    let header = ["VERSION", "ANSWERED ", "FAILED ", "ROWS ", "RUNS ", "ROWS/RUN ", "QUEUE MS ", "EXECUTE MS "];
    table(
        header,
        statistics.iter().map(|statistics| {
            let counts = Counts::of(statistics);
            [
                plain(&statistics.version),
                counts.answered.to_string(),
                counts.failed.to_string(),
                counts.rows.to_string(),
                counts.runs.to_string(),
                format!("{:.1}", counts.rows_a_run()),
                format!("{:.3}", counts.queue_ms),
                format!("{:.3}", counts.execute_ms),
            ]
        }),
    )
}

fn count_json(statistics: &ModelStatistics) -> Value {
    let counts = Counts::of(statistics);
    json!({
        "version": statistics.version,
        "answered": counts.answered,
        "failed": counts.failed,
        "rows": counts.rows,
        "runs": counts.runs,
        "mean_queue_ms": counts.queue_ms,
        "mean_execute_ms": counts.execute_ms
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Dim};
    use crate::wire::proto::inference::InferStatistics;

    fn entry(name: &str, state: &str, reason: &str) -> Entry {
        Entry { name: name.into(), version: "1".into(), state: state.into(), reason: reason.into() }
    }

    fn detail() -> Detail {
        let dims = vec![Dim::Free(Some("batch".into())), Dim::Fixed(8)];
        let spec = |name: &'static str| TensorSpec {
            name: name.into(),
            dtype: DType::Fp32,
            dims: dims.clone(),
            optional: true,
        };
        let duration = |count, ns| Some(StatisticDuration { count, ns });
        let inference_stats = InferStatistics {
            success: duration(4, 0),
            fail: duration(1, 0),
            queue: duration(4, 2_000_000),
            compute_infer: duration(4, 6_000_000),
            ..Default::default()
        };
        let statistics = ModelStatistics {
            version: "1".into(),
            inference_count: 12,
            execution_count: 3,
            inference_stats: Some(inference_stats),
            ..Default::default()
        };
        let signature = Signature { inputs: vec![spec("image")], outputs: vec![spec("probs")] };
        Detail { platform: "onnxruntime_onnx".into(), signature, statistics: vec![statistics] }
    }

    #[test]
    fn every_version_has_a_line() {
        let entries = vec![entry("digits", "READY", ""), entry("other", "UNAVAILABLE", "no such file")];
        let expected = "\
MODEL   VERSION  STATE        REASON
digits  1        READY
other   1        UNAVAILABLE  no such file
";
        assert_eq!(Listing { entries, detail: None }.text(), expected);
        assert_eq!(Listing { entries: vec![], detail: None }.text(), "no model is known\n");
    }

    #[test]
    fn the_detail_of_a_model_is_its_signature_and_its_counts() {
        let listing = Listing { entries: vec![entry("digits", "READY", "")], detail: Some(detail()) };
        let expected = "\
MODEL   VERSION  STATE  REASON
digits  1        READY

INPUT  DATATYPE  SHAPE
image  FP32      [batch,8]

OUTPUT  DATATYPE  SHAPE
probs   FP32      [batch,8]

VERSION  ANSWERED  FAILED  ROWS  RUNS  ROWS/RUN  QUEUE MS  EXECUTE MS
1               4       1    12     3       4.0     0.500       1.500
";
        assert_eq!(listing.text(), expected);
        let json = listing.json();
        assert_eq!(json["inputs"], json!([{ "name": "image", "datatype": "FP32", "shape": [-1, 8] }]));
        assert_eq!(json["statistics"][0]["mean_execute_ms"], 1.5);
    }

    #[test]
    fn counts_of_nothing_are_zeros() {
        let counts = Counts::of(&ModelStatistics::default());
        assert_eq!((counts.rows_a_run(), counts.queue_ms), (0.0, 0.0));
    }

    #[test]
    fn a_version_that_could_not_be_asked_says_why() {
        let asked = Entry::asked("m", "1", Err(Status::not_found("no such version")));
        assert_eq!((&*asked.state, &*asked.reason), ("UNKNOWN", "no such version (NOT_FOUND)"));
        assert_eq!(Entry::asked("m", "1", Ok(false)).state, "UNAVAILABLE");
    }
}
