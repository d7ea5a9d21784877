//! What is wrong with a configuration: every mistake at once, each with where it stands, what was found there and what
//! is allowed.

use std::fmt;

use figment::error::Kind;
use figment::value::Value;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it came from: a file's path, a variable or a flag.
    pub source: String,
    /// The key's path; empty where the source as a whole is at fault.
    pub key: String,
    /// What was found and what is allowed.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { source, key, what } = self;
        if key.is_empty() { write!(f, "{source}: {what}") } else { write!(f, "{source}: {key}: {what}") }
    }
}

/// A configuration that cannot be used. Shows one problem a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `Ok` where there are no problems.
    pub(crate) fn unless_empty(problems: Vec<Problem>) -> Result<(), ConfigError> {
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    /// Each mistake, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> ConfigError {
        ConfigError { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A value for a message: short, and quoted where it is a text.
pub(crate) fn shown(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = match value {
        Value::Dict(..) => "a table".into(),
        Value::Array(..) => "a list".into(),
        // JSON and TOML write the remaining kinds alike.
        _ => serde_json::to_string(value).unwrap_or_default(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What a type that somebody else declared says against a value, in our words.
pub(crate) fn explained(kind: &Kind, found: &str) -> String {
    match kind {
        Kind::UnknownField(name, allowed) => unknown_key(name, allowed),
        Kind::UnknownVariant(_, allowed) => {
            let allowed: Vec<String> = allowed.iter().map(|one| format!("{one:?}")).collect();
            format!("found {found}, allowed is one of {}", allowed.join(", "))
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("found {found}, allowed is {}", in_our_words(expected))
        }
        other => other.to_string(),
    }
}

fn in_our_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" => "a text",
        "a boolean" => "true or false",
        other => other,
    }
}

/// An unknown key in a table that takes `allowed`.
pub(super) fn unknown_key(name: &str, allowed: &[&str]) -> String {
    let near = suggestion(&nearest(name, allowed.iter().copied()));
    format!("unknown key{near}; allowed here are {}", allowed.join(", "))
}

/// The few candidates that somebody who wrote `name` may have meant, nearest first.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    const SHOWN: usize = 3;
    let far = 1 + name.chars().count() / 4;
    let mut near: Vec<(usize, &str)> = candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= far || is_part(name, candidate))
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter().take(SHOWN).map(|(_, candidate)| candidate).collect()
}

/// Whether the shorter of the two ends the longer: `IN_FLIGHT` for `LIMITS_IN_FLIGHT`.
fn is_part(name: &str, candidate: &str) -> bool {
    let long_enough = name.len().min(candidate.len()) >= 4;
    long_enough && (name.ends_with(candidate) || candidate.ends_with(name))
}

/// `, did you mean a or b?`, or nothing.
pub(super) fn suggestion(near: &[&str]) -> String {
    if near.is_empty() { String::new() } else { format!(", did you mean {}?", near.join(" or ")) }
}

/// How many letters must be added, left out or changed to make one of the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (index, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[index + 1];
            row[index + 1] = changed.min(row[index] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_letters_added_left_out_and_changed() {
        for (left, right, expected) in [("", "", 0), ("abc", "abc", 0), ("", "abc", 3), ("kitten", "sitting", 3)] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn only_what_may_have_been_meant_is_suggested() {
        let keys = ["listen", "admin", "models", "limits"];
        assert_eq!(nearest("limit", keys.into_iter()), ["limits"]);
        assert_eq!(nearest("lisen", keys.into_iter()), ["listen"]);
        assert_eq!(nearest("colour", keys.into_iter()), [""; 0]);
        assert_eq!(nearest("IN_FLIGHT", ["LIMITS_IN_FLIGHT", "LISTEN"].into_iter()), ["LIMITS_IN_FLIGHT"]);
    }

    #[test]
    fn a_long_value_is_cut_in_a_message() {
        let text = shown(&Value::from("é".repeat(1000)));
        assert!(text.chars().count() < 100, "{text}");
    }
}
