//! The sources of a configuration, from the weakest to the strongest: a file, the environment, flags. Each is checked by
//! itself, so that a mistake is found even where a stronger source hides it.

use std::fmt;
use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::keys::{Key, Reading, check_values, names_in};
use super::problem::{Problem, nearest, shown, suggestion};

/// What our variables begin with.
pub(super) const PREFIX: &str = "INFERGATE_";

/// The source of what nobody set.
pub(super) const DEFAULT: &str = "default";

/// A source's values, or why it has none.
pub(super) type Sourced = Result<Layer, Problem>;

/// Values of one source: a file, one variable or one flag.
pub(super) struct Layer {
    source: String,
    values: Dict,
    reading: Reading,
}

impl Layer {
    /// Reads a TOML file.
    pub(super) fn file(path: &Path) -> Sourced {
        let source = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| in_whole(&source, format!("cannot read: {error}")))?;
        Layer::toml(source, &text)
    }

    /// Takes a file's text.
    pub(super) fn toml(source: String, text: &str) -> Sourced {
        match Toml::from_str::<Dict>(text) {
            Ok(values) => Ok(Layer { source, values, reading: Reading::Typed }),
            Err(error) => Err(in_whole(&source, format!("not TOML\n{}", error.to_string().trim_end()))),
        }
    }

    /// Takes one value as it was written: a table of things by names as a file has it, everything else as a text.
    fn spelled(source: String, key: &Key, text: String) -> Sourced {
        if !key.is_table() {
            let (table, name) = key.table_and_name();
            // Keys are at most one table deep, which a test over all of them holds.
            return Ok(Layer::of_one(source, &[table, name], text));
        }
        match Toml::from_str::<Dict>(&format!("{} = {text}", key.path)) {
            Ok(values) if !text.contains('\n') => Ok(Layer { source, values, reading: Reading::Typed }),
            _ => {
                let what = format!("found {}, allowed is {}", shown(&text.into()), key.allowed);
                Err(Problem { source, key: key.path.clone(), what })
            }
        }
    }

    /// One text, at the end of a path of tables whose names may have dots in them. Names that are empty are left out.
    fn of_one(source: String, path: &[&str], text: String) -> Layer {
        let within = |value, name: &&str| Value::from(Dict::from([((*name).to_owned(), value)]));
        let path = path.iter().filter(|name| !name.is_empty()).rev();
        let values = path.fold(Value::from(text), within).into_dict().expect("a path has a name");
        Layer { source, values, reading: Reading::Spelled }
    }

    /// What is wrong with its values, each by itself.
    pub(super) fn problems(&self, keys: &[Key]) -> Vec<Problem> {
        let complaints = check_values(keys, &self.values, self.reading);
        complaints.into_iter().map(|(key, what)| Problem { source: self.source.clone(), key, what }).collect()
    }
}

fn in_whole(source: &str, what: String) -> Problem {
    Problem { source: source.to_owned(), key: String::new(), what }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// The layers of all variables that are ours. Those that Kubernetes sets for Services with our name are not.
pub(super) fn from_variables(keys: &[Key], variables: impl Iterator<Item = (String, String)>) -> Vec<Sourced> {
    let ours = variables.filter(|(name, value)| name.starts_with(PREFIX) && !is_service_variable(name, value));
    let mut ours: Vec<(String, String)> = ours.collect();
    ours.sort();
    ours.into_iter().map(|(name, value)| from_variable(keys, name, value)).collect()
}

fn from_variable(keys: &[Key], name: String, value: String) -> Sourced {
    let Some(key) = keys.iter().find(|key| key.variable() == name) else {
        return Err(in_whole(&name, unknown_variable(keys, &name)));
    };
    if value.is_empty() {
        return Err(in_whole(&name, format!("is empty; unset it or give {}", key.allowed)));
    }
    Layer::spelled(name, key, value)
}

fn unknown_variable(keys: &[Key], name: &str) -> String {
    let table = keys.iter().find(|key| key.is_table() && name.starts_with(&format!("{}_", key.variable())));
    if let Some(table) = table {
        return format!("unknown variable; {} is {}", table.variable(), table.allowed);
    }
    // Without the prefix, which would make all of them look alike.
    let all: Vec<String> = keys.iter().map(|key| key.variable().split_off(PREFIX.len())).collect();
    let near = nearest(&name[PREFIX.len()..], all.iter().map(String::as_str));
    if near.is_empty() {
        return "unknown variable; they are named after keys: INFERGATE_LIMITS_IN_FLIGHT sets limits.in_flight".into();
    }
    let near: Vec<String> = near.into_iter().map(|name| format!("{PREFIX}{name}")).collect();
    format!("unknown variable, did you mean {}?", near.join(" or "))
}

/// Whether Kubernetes sets such a variable for a Service: `infergate` itself, or any whose name begins with it.
fn is_service_variable(name: &str, value: &str) -> bool {
    let rest = format!("_{}", &name[PREFIX.len()..]);
    let port = |end: &str| {
        let (number, protocol) = end.split_once('_').unwrap_or((end, ""));
        let protocol = protocol.trim_end_matches("_PROTO").trim_end_matches("_PORT").trim_end_matches("_ADDR");
        !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && matches!(protocol, "TCP" | "UDP" | "SCTP")
    };
    rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        || (rest.ends_with("_PORT") && value.contains("://"))
        || rest.match_indices("_PORT_").any(|(at, found)| port(&rest[at + found.len()..]))
}

/// Settings that flags carry: each with the flag's name for messages, the key that it sets and its value as it was
/// written. A command adds a line for each flag of its own.
///
/// ```
/// # use infergate::config::Overrides;
/// # let (listen, level) = (Some("127.0.0.1:0"), None::<String>);
/// let overrides = Overrides::default().flag("--listen", "listen", listen).flag("--log", "log.level", level);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    role_defaults: Vec<Override>,
    flags: Vec<Override>,
}

#[derive(Debug, Clone)]
struct Override {
    source: String,
    key: String,
    value: String,
}

impl Overrides {
    /// Adds a flag that sets `key`; nothing where it was not given. An unknown key and a wrong value come up when the
    /// configuration is loaded, so that a key may come from the user as well.
    pub fn flag(mut self, flag: impl Into<String>, key: impl Into<String>, value: Option<impl fmt::Display>) -> Self {
        let added = value.map(|value| Override { source: flag.into(), key: key.into(), value: value.to_string() });
        self.flags.extend(added);
        self
    }

    /// Changes the default of `key` for the role that runs. Every source outweighs it.
    pub fn role_default(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        let added = Override { source: DEFAULT.into(), key: key.into(), value: value.to_string() };
        self.role_defaults.push(added);
        self
    }

    /// What is weaker than every source, and what is stronger.
    pub(super) fn into_layers(self, keys: &[Key]) -> (Vec<Sourced>, Vec<Sourced>) {
        let layers = |given: Vec<Override>| given.into_iter().map(|one| one.into_layer(keys)).collect();
        (layers(self.role_defaults), layers(self.flags))
    }
}

impl Override {
    fn into_layer(self, keys: &[Key]) -> Sourced {
        let Override { source, key, value } = self;
        match keys.iter().find(|known| known.path == key) {
            Some(known) => Layer::spelled(source, known, value),
            None if let Some(table) = keys.iter().find(|table| table.is_table() && is_in(&key, table)) => {
                of_a_thing(source, table, key, value)
            }
            None => {
                let near = suggestion(&nearest(&key, keys.iter().map(|key| key.path.as_str())));
                Err(Problem { source, key, what: format!("unknown key{near}") })
            }
        }
    }
}

fn is_in(key: &str, table: &Key) -> bool {
    key.strip_prefix(&table.path).is_some_and(|rest| rest.starts_with('.'))
}

/// One key of one thing: `model.resnet.pure`. The thing's name may have dots in it, its key has none.
fn of_a_thing(source: String, table: &Key, key: String, value: String) -> Sourced {
    let rest = &key[table.path.len() + 1..];
    let (thing, name) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let keys = table.of(thing);
    if !thing.is_empty() && keys.iter().any(|known| known.path == key) {
        return Ok(Layer::of_one(source, &[&table.path, thing, name], value));
    }
    let allowed = names_in(&keys, &format!("{}.{thing}", table.path));
    let near = suggestion(&nearest(name, allowed.iter().copied()));
    let what = format!("unknown key{near}; allowed is {}.NAME.KEY with KEY one of {}", table.path, allowed.join(", "));
    Err(Problem { source, key, what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_kubernetes_sets_for_a_service_with_our_name_is_not_ours() {
        for (name, value) in [
            ("INFERGATE_SERVICE_HOST", "10.0.0.7"),
            ("INFERGATE_SERVICE_PORT", "8001"),
            ("INFERGATE_SERVICE_PORT_GRPC", "8001"),
            ("INFERGATE_PORT", "tcp://10.0.0.7:8001"),
            ("INFERGATE_PORT_8001_TCP", "tcp://10.0.0.7:8001"),
            ("INFERGATE_PORT_8001_TCP_PROTO", "tcp"),
            ("INFERGATE_PORT_8001_TCP_PORT", "8001"),
            ("INFERGATE_PORT_8001_TCP_ADDR", "10.0.0.7"),
            ("INFERGATE_WORKER_SERVICE_HOST", "10.0.0.8"),
            ("INFERGATE_WORKER_PORT_53_UDP_ADDR", "10.0.0.8"),
        ] {
            assert!(is_service_variable(name, value), "{name}");
        }
        for (name, value) in [("INFERGATE_PORT", "8001"), ("INFERGATE_PORT_X_TCP", "1"), ("INFERGATE_LISTEN", "x:1")] {
            assert!(!is_service_variable(name, value), "{name}");
        }
    }

    #[test]
    fn no_key_of_ours_has_a_variable_that_kubernetes_could_set_or_that_another_key_has() {
        let variables: Vec<String> = Config::keys().iter().map(Key::variable).collect();
        for (index, variable) in variables.iter().enumerate() {
            assert!(!is_service_variable(variable, "tcp://10.0.0.7:8001"), "{variable}");
            assert!(!variables[..index].contains(variable), "{variable}");
        }
    }

    #[test]
    fn every_key_is_at_most_one_table_deep() {
        assert!(Config::keys().iter().all(|key| key.path.matches('.').count() <= 1));
    }

    #[test]
    fn broken_toml_is_shown_with_its_line() {
        let problem = Layer::toml("a.toml".into(), "listen = \"127.0.0.1:1\"\nadmin = \n").err().unwrap();
        assert_eq!(problem.source, "a.toml");
        assert!(problem.what.contains("line 2"), "{problem}");
    }
}
