//! The numbers of calls as OpenMetrics text. Written by hand: the client's own writer takes exemplars from its own
//! histograms alone.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::UNIX_EPOCH;

use super::CallTable;
use super::histogram::{BOUNDS, BUCKETS, Counted};
use super::series::{ENDS, Example, OTHER, Sums, TIMES, WHOLE, end_of};
use crate::error::Kind;
use crate::infer::Stage;

/// The model of calls that no model took, and of those beyond the most that are told apart: no model is called so.
const OTHERS: &str = "_other";

/// Of stages every second bound is told: with two hundred models all of them would be twice as many lines.
const STAGE_STEP: usize = 2;

/// One model version.
pub(super) struct Told {
    pub(super) model: String,
    /// `model="m",version="1"`.
    labels: String,
    pub(super) sums: Sums,
    examples: BTreeMap<(usize, usize), Example>,
}

impl CallTable {
    /// Appends what has been counted.
    pub(in crate::observe) fn tell(&self, text: &mut String) -> fmt::Result {
        let told = self.told();
        self.calls(text, &told)?;
        let name = "inference_call_duration_seconds";
        head(text, name, "histogram", "How long calls took, from their first byte to their answer")?;
        for entry in &told {
            entry.histogram(text, name, "", WHOLE, 1)?;
        }
        let name = "inference_stage_duration_seconds";
        head(text, name, "histogram", "How long each stage of a call took; what no stage accounts for is other")?;
        for entry in &told {
            for time in 0..=OTHER {
                let stage = Stage::ALL.get(time).map_or("other", |stage| stage.name());
                entry.histogram(text, name, &format!("stage=\"{stage}\","), time, STAGE_STEP)?;
            }
        }
        Ok(())
    }

    /// Every series in which a call was counted, by name and version.
    pub(super) fn told(&self) -> Vec<Told> {
        let known = self.known.load();
        let mut all: Vec<_> = known
            .iter()
            .flat_map(|(model, versions)| {
                versions.iter().map(move |(version, series)| (model.as_str(), *version, &**series))
            })
            .collect();
        all.sort_by_key(|(model, version, _)| (*model, *version));
        all.push((OTHERS, None, &self.others));
        let told = all.into_iter().map(|(model, version, series)| {
            let version = version.map_or_else(String::new, |version| version.to_string());
            let labels = format!("model=\"{model}\",version=\"{version}\"");
            Told { model: model.to_owned(), labels, sums: series.sums(), examples: series.examples() }
        });
        told.filter(|told| told.sums.ends.iter().any(|count| *count > 0)).collect()
    }

    fn calls(&self, text: &mut String, told: &[Told]) -> fmt::Result {
        head(text, "inference_calls", "counter", "Calls that have ended, by what their callers were told")?;
        for Told { labels, sums, .. } in told {
            for (code, count) in self.by_code(&sums.ends) {
                writeln!(text, "inference_calls_total{{{labels},code=\"{code}\"}} {count}")?;
            }
        }
        Ok(())
    }

    /// Those codes with which any call has ended.
    pub(super) fn by_code(&self, ends: &[u64; ENDS]) -> BTreeMap<&'static str, u64> {
        let mut codes = BTreeMap::from([("OK", ends[end_of(None)])]);
        for kind in Kind::ALL {
            *codes.entry((self.code)(kind)).or_default() += ends[end_of(Some(kind))];
        }
        codes.retain(|_, count| *count > 0);
        codes
    }
}

impl Told {
    /// A histogram of `time`, if anything has taken any, with every so manieth bound.
    fn histogram(&self, text: &mut String, name: &str, before: &str, time: usize, step: usize) -> fmt::Result {
        debug_assert!(time < TIMES);
        let Counted { counts, nanos } = self.sums.times[time];
        let count = self.sums.times[time].count();
        if count == 0 {
            return Ok(());
        }
        let labels = &self.labels;
        let mut below = 0;
        let mut example = None;
        for (bucket, count) in counts.iter().enumerate() {
            below += count;
            // The largest of those that fall into a bucket as it is told.
            example = self.examples.get(&(time, bucket)).or(example);
            if bucket % step != 0 && bucket + 1 < BUCKETS {
                continue;
            }
            let bound = BOUNDS.get(bucket).map_or("+Inf".into(), |nanos| decimal(seconds(*nanos)));
            write!(text, "{name}_bucket{{{before}{labels},le=\"{bound}\"}} {below}")?;
            exemplar(text, example.take())?;
        }
        writeln!(text, "{name}_sum{{{before}{labels}}} {}", seconds(nanos))?;
        writeln!(text, "{name}_count{{{before}{labels}}} {count}")
    }
}

/// What a family of metrics is.
pub(super) fn head(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}")?;
    if name.ends_with("_seconds") { writeln!(text, "# UNIT {name} seconds") } else { Ok(()) }
}

/// The rest of a bucket's line.
fn exemplar(text: &mut String, example: Option<&Example>) -> fmt::Result {
    let Some(Example { trace_id, nanos, at }) = example else { return writeln!(text) };
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    writeln!(text, " # {{trace_id=\"{trace_id:032x}\"}} {} {at:.3}", seconds(*nanos))
}

/// A number in the form that labels have it: with a point, and without an exponent.
fn decimal(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number:.1}") } else { number.to_string() }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
