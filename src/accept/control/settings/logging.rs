//! The log's settings, in Triton's words.

use std::collections::HashMap;

use super::{fixed, shown, unknown};
use crate::error::{Error, Result};
use crate::observe::log::Log;
use crate::wire::proto::inference as proto;
use proto::log_settings_request::SettingValue;
use proto::log_settings_request::setting_value::ParameterChoice as Given;
use proto::log_settings_response::setting_value::ParameterChoice as Told;

const KNOWN: [&str; 6] = ["log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"];

/// Levels, each of which includes those before it.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Triton's switches, and the levels that they are.
const SWITCHES: [(&str, usize); 3] = [("log_error", 1), ("log_warning", 2), ("log_info", 3)];

/// The level that is verbose, in steps from there.
const INFO: usize = 3;

/// The settings in force.
pub(in crate::accept::control) fn log_settings(log: &Log) -> proto::LogSettingsResponse {
    let level = level_of(&log.filter());
    let mut settings = HashMap::new();
    let mut tell = |name: &str, value| {
        let value = proto::log_settings_response::SettingValue { parameter_choice: Some(value) };
        settings.insert(name.to_owned(), value);
    };
    SWITCHES.iter().for_each(|(name, own)| tell(name, Told::BoolParam(level >= *own)));
    tell("log_verbose_level", Told::Uint32Param(level.saturating_sub(INFO) as u32));
    tell("log_format", Told::StringParam(if log.is_json() { "json" } else { "ISO8601" }.to_owned()));
    tell("log_file", Told::StringParam(String::new()));
    proto::LogSettingsResponse { settings }
}

/// Sets what is given. What holds for parts of the program is left as it is.
///
/// # Errors
/// For what is not known, cannot be set, or cannot be had together.
pub(in crate::accept::control) fn set_log(log: &Log, given: &HashMap<String, SettingValue>) -> Result<()> {
    let mut given: Vec<_> =
        given.iter().map(|(name, value)| (name.as_str(), value.parameter_choice.as_ref())).collect();
    // So that what a caller is told does not depend on chance.
    given.sort_by_key(|(name, _)| *name);
    let (mut bounds, mut is_json) = (Bounds { least: 0, most: LEVELS.len() - 1 }, None);
    for (name, value) in given {
        match (name, value) {
            ("log_verbose_level", Some(Given::Uint32Param(0))) => bounds.at_most(INFO),
            ("log_verbose_level", Some(Given::Uint32Param(verbose))) => {
                bounds.exactly((*verbose as usize).saturating_add(INFO).min(LEVELS.len() - 1));
            }
            ("log_verbose_level", _) => return Err(wrong(name, "a uint32")),
            ("log_format", Some(Given::StringParam(format))) => is_json = Some(format_of(format)?),
            ("log_format", _) => return Err(wrong(name, "a string")),
            ("log_file", Some(Given::StringParam(file))) if file.is_empty() => {}
            ("log_file", _) => {
                return Err(Error::unsupported("setting \"log_file\" is not served: the log is on standard error"));
            }
            (name, value) => match (SWITCHES.iter().find(|(known, _)| *known == name), value) {
                (Some((_, level)), Some(Given::BoolParam(true))) => bounds.at_least(*level),
                (Some((_, level)), Some(Given::BoolParam(false))) => bounds.at_most(level - 1),
                (Some(_), _) => return Err(wrong(name, "a bool")),
                (None, _) => return Err(unknown(name, &KNOWN)),
            },
        }
    }
    let before = log.filter();
    let level = bounds.nearest(level_of(&before))?;
    let filter = with_level(&before, level);
    if filter != before {
        log.set_filter(&filter).or_else(|_| fixed("log_info", "log.level"))?;
        tracing::warn!(from = before, to = filter, "log filter changed");
    }
    is_json.into_iter().for_each(|is_json| log.set_json(is_json));
    Ok(())
}

fn wrong(name: &str, allowed: &str) -> Error {
    Error::invalid(format!("setting {name:?} takes {allowed}"))
}

/// Whether lines are JSON in this format. The times of text are those of ISO 8601.
fn format_of(format: &str) -> Result<bool> {
    match format {
        "json" => Ok(true),
        "ISO8601" | "default" | "text" => Ok(false),
        _ => Err(Error::invalid(format!("log_format {:?} is not known, allowed are ISO8601 and json", shown(format)))),
    }
}

/// Levels that what is asked for leaves.
struct Bounds {
    least: usize,
    most: usize,
}

impl Bounds {
    fn at_least(&mut self, level: usize) {
        self.least = self.least.max(level);
    }

    fn at_most(&mut self, level: usize) {
        self.most = self.most.min(level);
    }

    fn exactly(&mut self, level: usize) {
        self.at_least(level);
        self.at_most(level);
    }

    /// The one that is nearest to the level so far.
    fn nearest(&self, level: usize) -> Result<usize> {
        if self.least > self.most {
            let told = "a level includes those before it (error, warning, info, verbose): not all that is asked for can be had";
            return Err(Error::invalid(told));
        }
        Ok(level.clamp(self.least, self.most))
    }
}

/// The level of what no part of the filter names.
fn level_of(filter: &str) -> usize {
    let own = filter.split(',').rfind(|part| !part.contains('='));
    own.and_then(|own| LEVELS.iter().position(|level| *level == own)).unwrap_or(0)
}

fn with_level(filter: &str, level: usize) -> String {
    let parts = filter.split(',').filter(|part| part.contains('='));
    std::iter::once(LEVELS[level]).chain(parts).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::log::tests::kept;

    fn set(log: &Log, given: &[(&str, Given)]) -> Result<()> {
        let given = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), SettingValue { parameter_choice: Some(value.clone()) }));
        set_log(log, &given.collect())
    }

    fn told(log: &Log, name: &str) -> Told {
        log_settings(log).settings[name].parameter_choice.clone().unwrap()
    }

    #[test]
    fn switches_and_steps_are_levels_and_parts_of_the_program_keep_theirs() {
        let (log, _, _subscriber) = kept("info,h2=off", false);
        assert_eq!(told(&log, "log_info"), Told::BoolParam(true));
        assert_eq!(told(&log, "log_verbose_level"), Told::Uint32Param(0));
        for (given, filter) in [
            (&[("log_verbose_level", Given::Uint32Param(1))][..], "debug,h2=off"),
            (&[("log_verbose_level", Given::Uint32Param(9))], "trace,h2=off"),
            (&[("log_verbose_level", Given::Uint32Param(0))], "info,h2=off"),
            (&[("log_info", Given::BoolParam(false))], "warn,h2=off"),
            (&[("log_warning", Given::BoolParam(false)), ("log_error", Given::BoolParam(true))], "error,h2=off"),
            (&[("log_error", Given::BoolParam(false))], "off,h2=off"),
            (&[("log_info", Given::BoolParam(true)), ("log_file", Given::StringParam(String::new()))], "info,h2=off"),
        ] {
            set(&log, given).unwrap();
            assert_eq!(log.filter(), filter, "{given:?}");
        }
        set(&log, &[("log_format", Given::StringParam("json".into()))]).unwrap();
        assert!(log.is_json());
        assert_eq!(told(&log, "log_format"), Told::StringParam("json".into()));
    }

    #[test]
    fn what_cannot_be_set_is_refused_and_nothing_with_it_is() {
        let (log, _, _subscriber) = kept("info", false);
        let verbose = ("log_verbose_level", Given::Uint32Param(1));
        for (wrong, word) in [
            (("log_file", Given::StringParam("/tmp/log".into())), "standard error"),
            (("log_format", Given::StringParam("xml".into())), "allowed are ISO8601"),
            (("log_info", Given::BoolParam(false)), "not all that is asked for"),
            (("log_error", Given::Uint32Param(1)), "takes a bool"),
            (("log_everything", Given::BoolParam(true)), "is not known, allowed are log_file"),
        ] {
            let refused = set(&log, &[wrong, verbose.clone()]).unwrap_err();
            assert!(refused.message().contains(word), "{refused}");
            assert_eq!((log.filter().as_str(), log.is_json()), ("info", false));
        }
    }
}
