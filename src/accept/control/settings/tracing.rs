//! The settings of traces, in Triton's words.

use std::collections::HashMap;

use super::{fixed, shown, unknown};
use crate::error::{Error, Result};
use crate::observe::trace::{Pace, Tracer};
use crate::wire::proto::inference as proto;
use proto::trace_setting_request::SettingValue;

const KNOWN: [&str; 6] = ["trace_level", "trace_rate", "trace_count", "log_frequency", "trace_file", "trace_mode"];

/// The settings in force.
pub(in crate::accept::control) fn trace_settings(tracer: &Tracer) -> proto::TraceSettingResponse {
    let pace = tracer.pace();
    let level = if pace.is_some_and(|pace| pace.is_on) { "TIMESTAMPS" } else { "OFF" };
    let rate = pace.map_or(0, |pace| every(pace.ratio)).to_string();
    let told = [
        ("trace_level", level),
        ("trace_rate", &rate),
        ("trace_count", "-1"),
        ("log_frequency", "0"),
        ("trace_file", ""),
        ("trace_mode", "opentelemetry"),
    ];
    let value = |value: &str| proto::trace_setting_response::SettingValue { value: vec![value.to_owned()] };
    let settings = told.into_iter().map(|(name, told)| (name.to_owned(), value(told))).collect();
    proto::TraceSettingResponse { settings }
}

/// Every how many calls one is recorded; 0 for none.
fn every(ratio: f64) -> u64 {
    if ratio > 0.0 { (1.0 / ratio).round() as u64 } else { 0 }
}

/// Sets what is given. A setting without a value is put back to what the process was started with.
///
/// # Errors
/// For what is not known or cannot be set.
pub(in crate::accept::control) fn set_trace(tracer: &Tracer, given: &HashMap<String, SettingValue>) -> Result<()> {
    let mut given: Vec<_> = given.iter().map(|(name, value)| (name.as_str(), &value.value[..])).collect();
    // So that what a caller is told does not depend on chance.
    given.sort_by_key(|(name, _)| *name);
    let (Some(before), Some(first)) = (tracer.pace(), tracer.first_pace()) else {
        return Err(Error::unsupported(
            "there is no collector to trace for: set tracing.endpoint and start the server again",
        ));
    };
    let mut pace = before;
    for (name, values) in given {
        match (name, values.first().map(String::as_str)) {
            ("trace_level", None) => pace.is_on = first.is_on,
            ("trace_level", Some(_)) => pace.is_on = level(values)?,
            ("trace_rate", None) => pace.ratio = first.ratio,
            ("trace_rate", Some(rate)) => pace.ratio = ratio(rate)?,
            ("trace_mode", None | Some("opentelemetry")) => {}
            ("trace_mode", Some(_)) => return Err(Error::unsupported("trace_mode is \"opentelemetry\" and no other")),
            ("trace_count", None | Some("-1"))
            | ("log_frequency", None | Some("0"))
            | ("trace_file", None | Some("")) => {}
            ("trace_count", Some(_)) => {
                return Err(Error::unsupported("trace_count is -1: traces do not end by number"));
            }
            ("log_frequency" | "trace_file", Some(_)) => return fixed(name, "tracing.endpoint"),
            (name, _) => return Err(unknown(name, &KNOWN)),
        }
    }
    if pace != before {
        tracer.set_pace(pace);
        let Pace { is_on, ratio } = pace;
        ::tracing::warn!(is_on, ratio, "sampling of traces changed");
    }
    Ok(())
}

/// Whether calls are traced on these levels, of which we have one.
fn level(levels: &[String]) -> Result<bool> {
    match levels.iter().find(|level| !matches!(level.as_str(), "OFF" | "TIMESTAMPS")) {
        Some(other) => {
            let told = format!("trace_level {:?} is not served, allowed are TIMESTAMPS and OFF", shown(other));
            Err(Error::unsupported(told))
        }
        None => Ok(levels.iter().all(|level| level == "TIMESTAMPS")),
    }
}

fn ratio(rate: &str) -> Result<f64> {
    match rate.parse::<u32>() {
        Ok(every @ 1..) => Ok(1.0 / f64::from(every)),
        _ => Err(Error::invalid(format!(
            "trace_rate {:?}: allowed is a whole number from 1, every how many",
            shown(rate)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::otlp::{Collector, Protocol};
    use crate::observe::trace::{Rules, Sampler};

    fn tracer() -> Tracer {
        let collector = Collector::at("http://127.0.0.1:1", Protocol::Grpc);
        let sampler = Sampler { ratio: 0.01, parent_based: true };
        Tracer::start(Rules { sampler, slow: Duration::from_secs(1), queue: 1 }, &collector).unwrap()
    }

    fn set(tracer: &Tracer, given: &[(&str, &[&str])]) -> Result<()> {
        let value = |values: &[&str]| SettingValue { value: values.iter().map(|&value| value.to_owned()).collect() };
        set_trace(tracer, &given.iter().map(|(name, values)| ((*name).to_owned(), value(values))).collect())
    }

    fn told(tracer: &Tracer) -> (String, String) {
        let settings = trace_settings(tracer).settings;
        (settings["trace_level"].value.join(" "), settings["trace_rate"].value.join(" "))
    }

    #[tokio::test]
    async fn the_rate_is_every_how_many_and_what_is_given_without_a_value_is_as_at_the_start() {
        let tracer = tracer();
        for (given, level, rate) in [
            (&[][..], "TIMESTAMPS", "100"),
            (&[("trace_rate", &["1"][..])], "TIMESTAMPS", "1"),
            (&[("trace_rate", &["250"]), ("trace_level", &["OFF"])], "OFF", "250"),
            (&[("trace_rate", &[]), ("trace_mode", &["opentelemetry"])], "OFF", "100"),
            (&[("trace_level", &["TIMESTAMPS"]), ("trace_count", &["-1"])], "TIMESTAMPS", "100"),
        ] {
            set(&tracer, given).unwrap();
            assert_eq!(told(&tracer), (level.to_owned(), rate.to_owned()), "{given:?}");
        }
    }

    #[tokio::test]
    async fn calls_are_followed_by_the_rate_that_was_set_and_not_at_all_where_it_is_off() {
        let tracer = tracer();
        let sampled = || (0..200).filter_map(|_| tracer.begin(None)).filter(|context| context.sampled).count();
        set(&tracer, &[("trace_rate", &["1"])]).unwrap();
        assert_eq!(sampled(), 200);
        set(&tracer, &[("trace_level", &["OFF"])]).unwrap();
        assert!(tracer.begin(None).is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_set_is_refused_and_nothing_with_it_is() {
        let tracer = tracer();
        for (wrong, word) in [
            (("trace_rate", &["0"][..]), "from 1"),
            (("trace_level", &["TIMESTAMPS", "TENSORS"]), "\"TENSORS\" is not served"),
            (("trace_mode", &["triton"]), "opentelemetry"),
            (("trace_count", &["7"]), "-1"),
            (("trace_file", &["/tmp/x"]), "tracing.endpoint"),
            (("trace_colour", &["red"]), "is not known, allowed are trace_level"),
        ] {
            let refused = set(&tracer, &[wrong, ("log_frequency", &[])]).unwrap_err();
            assert!(refused.message().contains(word), "{refused}");
            assert_eq!(told(&tracer).1, "100");
        }
        let refused = set(&Tracer::default(), &[("trace_level", &["TIMESTAMPS"])]).unwrap_err();
        assert!(refused.message().contains("no collector"), "{refused}");
        assert_eq!(told(&Tracer::default()), ("OFF".to_owned(), "0".to_owned()));
    }
}
