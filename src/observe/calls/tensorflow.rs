//! The numbers of calls by TensorFlow Serving's names, for dashboards that were made for those.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::CallTable;
use super::histogram::{BOUNDS, Counted};
use super::series::WHOLE;
use super::text::head;

const COUNT: &str = ":tensorflow:serving:request_count";
const LATENCY: &str = ":tensorflow:serving:request_latency";

/// All versions of one model.
#[derive(Default)]
struct OfModel {
    codes: BTreeMap<&'static str, u64>,
    whole: Counted,
}

impl CallTable {
    /// Appends calls by model and status, and how long they took, in microseconds as that server has them.
    pub(in crate::observe) fn tell_as_tensorflow(&self, text: &mut String) -> fmt::Result {
        let models = self.by_model();
        // No counter: the names of those end with `_total` here, and these do not.
        head(text, COUNT, "unknown", "Calls that have ended, by status")?;
        for (model, OfModel { codes, .. }) in &models {
            for (code, count) in codes {
                writeln!(text, "{COUNT}{{model_name=\"{model}\",status=\"{code}\"}} {count}")?;
            }
        }
        head(text, LATENCY, "histogram", "How long calls took, in microseconds")?;
        for (model, OfModel { whole, .. }) in &models {
            let labels = format!("model_name=\"{model}\",API=\"predict\",entrypoint=\"GRPC\"");
            let mut below = 0;
            for (bucket, count) in whole.counts.iter().enumerate() {
                below += count;
                let bound = BOUNDS.get(bucket).map_or("+Inf".into(), |nanos| format!("{}.0", nanos / 1000));
                writeln!(text, "{LATENCY}_bucket{{{labels},le=\"{bound}\"}} {below}")?;
            }
            writeln!(text, "{LATENCY}_sum{{{labels}}} {}", whole.nanos / 1000)?;
            writeln!(text, "{LATENCY}_count{{{labels}}} {below}")?;
        }
        Ok(())
    }

    fn by_model(&self) -> BTreeMap<String, OfModel> {
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
