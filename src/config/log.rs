//! What is logged and how it is written.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

use super::keys::Setting;

/// Which events are logged: a level, or levels for parts of the program, in the syntax that `tracing` knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LogFilter(String);

impl LogFilter {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    /// As `tracing_subscriber` reads it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    /// `info`.
    fn default() -> LogFilter {
        LogFilter("info".into())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<LogFilter, Self::Err> {
        let level = |level: &str| Self::LEVELS.contains(&level);
        let target = |target: &str| !target.is_empty() && target.bytes().all(|byte| !byte.is_ascii_whitespace());
        let directive = |part: &str| match part.split_once('=') {
            Some((name, its_level)) => target(name) && level(its_level),
            // A lone word would be taken for a part of the program, and a misspelt level with it.
            None => level(part),
        };
        if text.split(',').all(directive) { Ok(LogFilter(text.into())) } else { Err(Self::ALLOWED) }
    }
}

impl<'de> Deserialize<'de> for LogFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LogFilter, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &Self::ALLOWED))
    }
}

impl Setting for LogFilter {
    const ALLOWED: &'static str =
        "off, error, warn, info, debug or trace, also for parts as in \"info,infergate::models=debug\"";
}

/// How a logged event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

impl Setting for LogFormat {
    const ALLOWED: &'static str = "\"text\" or \"json\"";
}

/// Which calls have a line of the log each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// Those that do not end well.
    Failed,
    /// Each.
    All,
}

impl Setting for AccessLog {
    const ALLOWED: &'static str = "\"off\", \"failed\" or \"all\"";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        for text in ["info", "off", "info,infergate::models=debug", "warn,h2=off"] {
            assert!(text.parse::<LogFilter>().is_ok(), "{text}");
        }
        for text in ["", "inof", "INFO ", "info,", "info,h2", "h2=loud", "=info"] {
            assert!(text.parse::<LogFilter>().is_err(), "{text}");
        }
    }
}
