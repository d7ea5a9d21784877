//! Keys of a settings file: each is declared once, with its meaning, its type and its default, and from that one line
//! come the field, the documentation, the name of its variable and the check of a value that somebody wrote.

use std::net::SocketAddr;
use std::path::PathBuf;

use figment::Figment;
use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;

use super::problem::{shown, unknown_key};
use super::{ByteSize, Period};

/// A type that a key may have.
pub trait Setting: DeserializeOwned {
    /// What a value may be, for messages and documentation: "a whole number".
    const ALLOWED: &'static str;

    /// Of a table of things by names, the keys of each, whose paths begin with `prefix`. No other value has any.
    fn of_each(prefix: &str) -> Vec<Key> {
        let _ = prefix;
        Vec::new()
    }
}

macro_rules! allowed {
    ($($type:ty => $allowed:expr),* $(,)?) => {
        $(impl Setting for $type {
            const ALLOWED: &'static str = $allowed;
        })*
    };
}

allowed! {
    bool => "true or false",
    u32 => "a whole number",
    usize => "a whole number",
    f64 => "a number",
    String => "a text",
    PathBuf => "a path",
    SocketAddr => "an IP address with a port, such as \"127.0.0.1:8001\" or \"[::]:8001\"",
    ByteSize => ByteSize::ALLOWED,
    Period => Period::ALLOWED,
}

impl<T: Setting> Setting for Option<T> {
    const ALLOWED: &'static str = T::ALLOWED;

    fn of_each(prefix: &str) -> Vec<Key> {
        T::of_each(prefix)
    }
}

/// A struct of settings, as `settings!` declares it.
pub trait Section: DeserializeOwned + Default {
    /// Its keys in the order of declaration, each path beginning with `prefix`.
    fn keys(prefix: &str) -> Vec<Key>;
}

/// How strictly a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As a file has it: a number is not a text.
    Typed,
    /// As a variable or a flag has it: everything is a text, and may spell a number.
    Spelled,
}

/// One key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Where it stands: `limits.in_flight`.
    pub path: String,
    /// What it means, with its unit.
    pub meaning: String,
    /// What a value may be.
    pub allowed: &'static str,
    /// Its default as JSON and TOML both write it; `None` where it has none.
    pub default: Option<String>,
    /// A value to show where there is no default.
    pub sample: Option<&'static str>,
    pub(crate) check: fn(&Value, Reading) -> Result<(), Box<figment::Error>>,
    pub(crate) of_each: fn(&str) -> Vec<Key>,
}

impl Key {
    /// The environment variable that sets it: `INFERGATE_LIMITS_IN_FLIGHT`.
    pub fn variable(&self) -> String {
        format!("{}{}", super::layer::PREFIX, self.path.to_ascii_uppercase().replace('.', "_"))
    }

    /// The table it stands in, empty for the top of the file, and its own name.
    pub fn table_and_name(&self) -> (&str, &str) {
        self.path.rsplit_once('.').unwrap_or(("", &self.path))
    }

    /// The keys of one of the things that it is a table of; none where it is no such table.
    pub(super) fn of(&self, name: &str) -> Vec<Key> {
        (self.of_each)(&format!("{}.{name}.", self.path))
    }

    /// Whether it is a table of things by names.
    pub(super) fn is_table(&self) -> bool {
        !self.of("").is_empty()
    }

    /// Says what is wrong with a value for it: where beneath the key, what was found, what is allowed.
    fn complaint(&self, value: &Value, reading: Reading) -> Option<(String, String)> {
        let error = (self.check)(value, reading).err()?;
        // The library puts the place within the value first, and what it was asked for last.
        let inner = error.path.split_last().map_or_else(String::new, |(_, inner)| inner.join("."));
        let place = if inner.is_empty() { self.path.clone() } else { format!("{}.{inner}", self.path) };
        let found = if inner.is_empty() { Some(value) } else { value.find_ref(&inner) };
        let found = found.map_or("nothing".into(), shown);
        Some((place, format!("found {found}, allowed is {}", self.allowed)))
    }
}

/// Reads `value` as a `T`, only to see whether it is one.
pub(crate) fn check<T: DeserializeOwned>(value: &Value, reading: Reading) -> Result<(), Box<figment::Error>> {
    let alone = Figment::from(("value", value));
    let read = match reading {
        Reading::Typed => alone.extract_inner::<T>("value"),
        Reading::Spelled => alone.extract_inner_lossy::<T>("value"),
    };
    read.map(drop).map_err(Box::new)
}

/// Checks every value of a file against the keys that it may have: a list of places and what is wrong there.
pub(crate) fn check_values(keys: &[Key], values: &Dict, reading: Reading) -> Vec<(String, String)> {
    let mut complaints = Vec::new();
    check_table(keys, "", values, reading, &mut complaints);
    complaints
}

fn check_table(keys: &[Key], table: &str, values: &Dict, reading: Reading, complaints: &mut Vec<(String, String)>) {
    for (name, value) in values {
        let path = if table.is_empty() { name.clone() } else { format!("{table}.{name}") };
        if let Some(key) = keys.iter().find(|key| key.path == path) {
            match value {
                Value::Dict(_, things) if key.is_table() => check_each(key, things, reading, complaints),
                _ => complaints.extend(key.complaint(value, reading)),
            }
        } else if !keys.iter().any(|key| is_within(&key.path, &path)) {
            complaints.push((path, unknown_key(name, &names_in(keys, table))));
        } else if let Value::Dict(_, inner) = value {
            check_table(keys, &path, inner, reading, complaints);
        } else {
            let allowed = names_in(keys, &path).join(", ");
            complaints.push((path, format!("found {}, allowed is a table with the keys {allowed}", shown(value))));
        }
    }
}

/// Checks a table of things by names.
fn check_each(key: &Key, things: &Dict, reading: Reading, complaints: &mut Vec<(String, String)>) {
    for (name, thing) in things {
        let (keys, path) = (key.of(name), format!("{}.{name}", key.path));
        match thing {
            Value::Dict(_, inner) => check_table(&keys, &path, inner, reading, complaints),
            other => {
                let allowed = names_in(&keys, &path).join(", ");
                complaints.push((path, format!("found {}, allowed is a table with the keys {allowed}", shown(other))));
            }
        }
    }
}

fn is_within(path: &str, table: &str) -> bool {
    path.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

/// Names that may stand right in a table, be they keys or tables.
pub(super) fn names_in<'a>(keys: &'a [Key], table: &str) -> Vec<&'a str> {
    let beneath = keys.iter().filter_map(|key| match table {
        "" => Some(key.path.as_str()),
        _ => key.path.strip_prefix(table).and_then(|rest| rest.strip_prefix('.')),
    });
    let mut names: Vec<&str> = beneath.map(|rest| rest.split('.').next().unwrap_or(rest)).collect();
    names.dedup();
    names
}

/// The value of a default as text, in the syntax that JSON and TOML share.
pub(crate) fn default_text(value: serde_json::Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// Declares a struct of settings: per key its meaning, its type and its default, and where there is no default a
/// sample. Tables within come last, each a struct declared the same way.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $($(#[doc = $meaning:literal])+ $key:ident: $type:ty = $default:expr $(=> $sample:literal)?,)*
        }
        $(tables { $($(#[doc = $table_about:literal])+ $table:ident: $table_type:ty,)+ })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $meaning])+ pub $key: $type,)*
            $($($(#[doc = $table_about])+ pub $table: $table_type,)+)?
        }

        impl Default for $name {
            fn default() -> $name {
                $name {
                    $($key: $default,)*
                    $($($table: Default::default(),)+)?
                }
            }
        }

        impl $crate::config::keys::Section for $name {
            fn keys(prefix: &str) -> Vec<$crate::config::Key> {
                let fallback = $name::default();
                let mut keys = Vec::new();
                $(keys.push($crate::config::Key {
                    path: format!("{prefix}{}", stringify!($key)),
                    meaning: concat!($($meaning),+).trim().to_owned(),
                    allowed: <$type as $crate::config::keys::Setting>::ALLOWED,
                    default: serde_json::to_value(&fallback.$key).ok().and_then($crate::config::keys::default_text),
                    sample: None $(.or(Some($sample)))?,
                    check: $crate::config::keys::check::<$type>,
                    of_each: <$type as $crate::config::keys::Setting>::of_each,
                });)*
                $($(keys.extend(<$table_type as $crate::config::keys::Section>::keys(
                    &format!("{prefix}{}.", stringify!($table)),
                ));)+)?
                keys
            }
        }
    };
}

pub(crate) use settings;
