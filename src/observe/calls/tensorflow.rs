//! The numbers of calls by TensorFlow Serving's names, for dashboards that were made for those.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::CallTable;
use super::cells::BOUNDS;
use super::histogram::Counted;
use super::series::WHOLE;
use super::text::head;
use super::told::Head;

pub(super) const COUNT: Head =
    Head { name: ":tensorflow:serving:request_count", help: "Calls that have ended, by status" };
pub(super) const LATENCY: Head =
    Head { name: ":tensorflow:serving:request_latency", help: "How long calls took, in microseconds" };

/// All versions of one model.
#[derive(Default)]
pub(super) struct OfModel {
    pub(super) codes: BTreeMap<&'static str, u64>,
    pub(super) whole: Counted,
}

impl OfModel {
    /// How many calls took at most so many microseconds; any of the last.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = BOUNDS.into_iter().map(|nanos| Some(nanos / 1000)).chain([None]);
        let mut below = 0;
        bounds.zip(self.whole.classic()).map(move |(bound, count)| {
            below += count;
            (bound, below)
        })
    }
}

impl CallTable {
    /// Appends calls by model and status, and how long they took, in microseconds as that server has them.
    pub(in crate::observe) fn tell_as_tensorflow(&self, text: &mut String) -> fmt::Result {
        let models = self.by_model();
        // No counter: the names of those end with `_total` here, and these do not.
        head(text, COUNT, "unknown")?;
        for (model, OfModel { codes, .. }) in &models {
            for (code, count) in codes {
                writeln!(text, "{}{{model_name=\"{model}\",status=\"{code}\"}} {count}", COUNT.name)?;
            }
        }
        head(text, LATENCY, "histogram")?;
        let name = LATENCY.name;
        for (model, of_model) in &models {
            let labels = format!("model_name=\"{model}\",API=\"predict\",entrypoint=\"GRPC\"");
            for (bound, below) in of_model.buckets() {
                let bound = bound.map_or("+Inf".into(), |micros| format!("{micros}.0"));
                writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}")?;
            }
            writeln!(text, "{name}_sum{{{labels}}} {}", of_model.whole.nanos / 1000)?;
            writeln!(text, "{name}_count{{{labels}}} {}", of_model.whole.count())?;
        }
        Ok(())
    }

    pub(super) fn by_model(&self) -> BTreeMap<String, OfModel> {
        let mut models = BTreeMap::<String, OfModel>::new();
        for told in self.told() {
            let model = models.entry(told.model).or_default();
            for (code, count) in self.by_code(&told.sums.ends) {
                *model.codes.entry(code).or_default() += count;
            }
            model.whole.join(&told.sums.times[WHOLE]);
        }
        models
    }
}
