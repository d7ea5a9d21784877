//! The numbers of calls as OpenMetrics text. Written by hand: the client's own writer takes exemplars from its own
//! histograms alone.

use std::fmt::{self, Write};
use std::time::UNIX_EPOCH;

use super::CallTable;
use super::series::Example;
use super::told::{CALL_DURATION, CALLS, Head, STAGE_DURATION, Timed, Told};

impl CallTable {
    /// Appends what has been counted.
    pub(in crate::observe) fn tell(&self, text: &mut String) -> fmt::Result {
        let told = self.told();
        self.calls(text, &told)?;
        head(text, CALL_DURATION, "histogram")?;
        for entry in &told {
            entry.whole().map_or(Ok(()), |whole| histogram(text, CALL_DURATION.name, entry, &whole))?;
        }
        head(text, STAGE_DURATION, "histogram")?;
        for entry in &told {
            entry.stages().try_for_each(|stage| histogram(text, STAGE_DURATION.name, entry, &stage))?;
        }
        Ok(())
    }

    fn calls(&self, text: &mut String, told: &[Told]) -> fmt::Result {
        head(text, CALLS, "counter")?;
        for Told { model, version, sums, .. } in told {
            for (code, count) in self.by_code(&sums.ends) {
                let labels = format_args!("model=\"{model}\",version=\"{version}\",code=\"{code}\"");
                writeln!(text, "{}_total{{{labels}}} {count}", CALLS.name)?;
            }
        }
        Ok(())
    }
}

fn histogram(text: &mut String, name: &str, Told { model, version, .. }: &Told, timed: &Timed<'_>) -> fmt::Result {
    let stage = timed.stage.map_or_else(String::new, |stage| format!("stage=\"{stage}\","));
    let labels = format!("{stage}model=\"{model}\",version=\"{version}\"");
    for bucket in &timed.buckets {
        let bound = bucket.bound.map_or("+Inf".into(), |nanos| decimal(seconds(nanos)));
        write!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {}", bucket.below)?;
        exemplar(text, bucket.example.as_ref())?;
    }
    writeln!(text, "{name}_sum{{{labels}}} {}", seconds(timed.counted.nanos))?;
    writeln!(text, "{name}_count{{{labels}}} {}", timed.count)
}

/// What a family of metrics is.
pub(super) fn head(text: &mut String, Head { name, help }: Head, kind: &str) -> fmt::Result {
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

pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
