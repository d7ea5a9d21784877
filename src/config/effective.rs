//! The configuration that is in force, with who set each value, and what each was at the start where it has changed since: for
//! people who ask a running process. What is secret in it is never told; paths are.

use std::collections::BTreeMap;
use std::path::Path;

use figment::Figment;
use serde_json::{Map, Value, json};

use serde::Serialize;

use super::layer::{self, DEFAULT};
use super::{Config, ConfigError, Overrides, Section, rules};

/// What is told in the place of a secret.
const MASKED: &str = "***";

/// The source of a value that is another than at the start.
const CHANGED: &str = "changed while running";

/// A setting as it is told: what is secret in its value is masked.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its key.
    pub path: String,
    /// Its value; null where it has none.
    pub value: Value,
    /// Whether that is its default.
    pub is_default: bool,
}

impl Told {
    /// `key = value`, as in a file, or that it is not set.
    pub fn text(&self) -> String {
        assigned(&self.path, &self.value)
    }
}

/// Every setting of a section.
pub fn told<T: Section + Serialize>(settings: &T) -> Vec<Told> {
    let values = serde_json::to_value(settings).expect("settings are texts, numbers and truth values");
    let keys = T::keys("").into_iter();
    let told = keys.map(|key| {
        let value = values.pointer(&format!("/{}", key.path.replace('.', "/"))).cloned().unwrap_or_default();
        let is_default = key.default == super::keys::default_text(value.clone());
        Told { value: masked(&key.path, value), path: key.path, is_default }
    });
    told.collect()
}

/// Values of now of keys that can change while the process runs.
pub type Now = BTreeMap<&'static str, Value>;

/// The configuration, and the sources of its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The values.
    pub config: Config,
    /// Who set each key; a key that is missing has its default.
    sources: BTreeMap<String, String>,
}

impl From<Config> for Effective {
    /// Nobody knows where its values come from.
    fn from(config: Config) -> Effective {
        Effective { config, sources: BTreeMap::new() }
    }
}

impl Effective {
    /// As [`Config::load`], with the sources.
    ///
    /// # Errors
    /// As those of [`Config::load`].
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Effective, ConfigError> {
        let keys = Config::keys();
        let (defaults, flags) = flags.into_layers(&keys);
        let file = file.map(layer::Layer::file);
        let variables = layer::from_variables(&keys, env);
        let layers = defaults.into_iter().chain(file).chain(variables).chain(flags);
        let (mut problems, mut figment) = (Vec::new(), Figment::new());
        for layer in layers {
            match layer {
                Ok(layer) => {
                    problems.extend(layer.problems(&keys));
                    figment = figment.merge(layer);
                }
                Err(problem) => problems.push(problem),
            }
        }
        ConfigError::unless_empty(problems)?;
        let config: Config = figment.extract_lossy().expect("each value was checked by itself");
        ConfigError::unless_empty(rules::broken(&config, &figment))?;
        let source = |path: &String| Some((path.clone(), figment.find_metadata(path)?.name.clone().into_owned()));
        let sources = keys.iter().filter_map(|key| source(&key.path)).collect();
        Ok(Effective { config, sources })
    }

    /// Who set a key at the start.
    fn source(&self, told: &Told) -> &str {
        match self.sources.get(&told.path) {
            Some(source) => source,
            None if told.is_default => DEFAULT,
            None => "unknown",
        }
    }

    /// As a JSON object: by key its value and its source, and those of the start where it is another `now`.
    pub fn json(&self, now: &Now) -> Map<String, Value> {
        let entry = |started: Told| {
            let at_start = json!({ "value": started.value, "source": self.source(&started) });
            let entry = match changed(&started, now) {
                None => at_start,
                Some(value) => json!({ "value": value, "source": CHANGED, "start": at_start }),
            };
            (started.path, entry)
        };
        told(&self.config).into_iter().map(entry).collect()
    }

    /// As a file that could be loaded again, but for what is masked, with the sources as comments, and with what was otherwise
    /// at the start.
    pub fn toml(&self, now: &Now) -> String {
        let mut text = String::new();
        let mut current = String::new();
        for started in told(&self.config) {
            let (table, name) = started.path.rsplit_once('.').unwrap_or(("", &started.path));
            if table != current {
                text.push_str(&format!("\n[{table}]\n"));
                table.clone_into(&mut current);
            }
            let source = self.source(&started);
            match (changed(&started, now), &started.value) {
                (None, Value::Null) => text.push_str(&format!("# {}\n", assigned(name, &Value::Null))),
                (None, value) => text.push_str(&format!("{} # {source}\n", assigned(name, value))),
                (Some(value), was) => {
                    let was = if was.is_null() { "not set".to_owned() } else { format!("{} ({source})", inline(was)) };
                    text.push_str(&format!("{} # {CHANGED}; at the start {was}\n", assigned(name, &value)));
                }
            }
        }
        text
    }
}

/// The value of now, where it is another than at the start.
fn changed(started: &Told, now: &Now) -> Option<Value> {
    let value = masked(&started.path, now.get(&*started.path)?.clone());
    (value != started.value).then_some(value)
}

fn assigned(name: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("{name} is not set"),
        value => format!("{name} = {}", inline(value)),
    }
}

/// A value without what is secret in it: the credentials in an address, and all of what is named as such.
fn masked(path: &str, value: Value) -> Value {
    const SECRET: [&str; 5] = ["headers", "password", "token", "secret", "credentials"];
    let name = path.rsplit('.').next().unwrap_or(path);
    match value {
        Value::Null => Value::Null,
        _ if SECRET.iter().any(|secret| name.contains(secret)) => MASKED.into(),
        Value::String(text) => without_credentials(&text).into(),
        Value::Object(inner) => {
            let inner = inner.into_iter().map(|(name, value)| (name.clone(), masked(&name, value)));
            Value::Object(inner.collect())
        }
        value => value,
    }
}

/// `https://user:word@host/path?key=word` as `https://***@host/path?***`; other texts as they are.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, format!("?{MASKED}")),
        None => (rest, String::new()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASKED}@{host}{path}{query}"),
        None => format!("{scheme}://{authority}{path}{query}"),
    }
}

/// A value in TOML, on one line. Texts of JSON are texts of TOML.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let set = entries.iter().filter(|(_, value)| !value.is_null());
            let entries: Vec<String> =
                set.map(|(name, value)| format!("{} = {}", json!(name), inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn loaded(text: &str) -> (tempfile::NamedTempFile, Effective) {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let variable = [("INFERGATE_LIMITS_IN_FLIGHT".to_owned(), "13".to_owned())];
        let flags = Overrides::default().flag("--listen", "listen", Some("127.0.0.1:21"));
        let effective = Effective::load(Some(file.path()), variable.into_iter(), flags).unwrap();
        (file, effective)
    }

    #[test]
    fn each_value_is_told_with_who_set_it() {
        let (file, effective) = loaded("[limits]\nin_flight = 3\nqueue_calls = 4");
        let told = effective.json(&Now::new());
        assert_eq!(told["limits.in_flight"], json!({ "value": 13, "source": "INFERGATE_LIMITS_IN_FLIGHT" }));
        assert_eq!(told["limits.queue_calls"]["source"], file.path().to_str().unwrap());
        assert_eq!(told["listen"], json!({ "value": "127.0.0.1:21", "source": "--listen" }));
        assert_eq!(told["log.level"], json!({ "value": "info", "source": "default" }));
        assert_eq!(told["compute.cpus"]["value"], Value::Null);
        assert_eq!(told.len(), Config::keys().len());
    }

    #[test]
    fn what_has_changed_is_told_with_what_it_was_at_the_start_and_what_is_as_it_was_is_not() {
        let (_, effective) = loaded("");
        let now =
            Now::from([("log.level", json!("debug")), ("log.format", json!("text")), ("tracing.ratio", json!(1.0))]);
        let told = effective.json(&now);
        let start = json!({ "value": "info", "source": "default" });
        assert_eq!(told["log.level"], json!({ "value": "debug", "source": CHANGED, "start": start }));
        assert_eq!(told["log.format"], json!({ "value": "text", "source": "default" }));
        assert_eq!(told["tracing.ratio"]["start"]["value"], Value::Null);
        let text = effective.toml(&now);
        let lines = [
            "level = \"debug\" # changed while running; at the start \"info\" (default)",
            "ratio = 1.0 # changed while running; at the start not set",
        ];
        assert!(lines.iter().all(|line| text.lines().any(|told| told == *line)), "{text}");
        let (_, again) = loaded(&text);
        assert_eq!((again.config.log.level.as_str(), again.config.tracing.ratio), ("debug", Some(1.0)));
    }

    #[test]
    fn as_a_file_it_can_be_loaded_again() {
        let model = "[model.\"a b\"]\npure = true\npolicy = \"least-request\"\n[tls]\ncert = \"c\"\nkey = \"tls/k\"";
        let (_, effective) = loaded(model);
        let text = effective.toml(&Now::new());
        assert!(text.contains("in_flight = 13 # INFERGATE_LIMITS_IN_FLIGHT\n"), "{text}");
        assert!(text.contains("key = \"tls/k\""), "a path is no secret: {text}");
        let (_, again) = loaded(&text);
        assert_eq!(again.config, effective.config);
    }

    #[test]
    fn secrets_are_not_told() {
        let mut config = Config::default();
        config.tracing.endpoint = Some("https://me:word@collector:4317/v1?key=word".to_owned());
        let effective = Effective::from(config);
        let told = effective.json(&Now::new());
        assert_eq!(told["tracing.endpoint"]["value"], "https://***@collector:4317/v1?***");
        let now = Now::from([("tracing.endpoint", json!("https://me:word@elsewhere:4317"))]);
        let text = effective.toml(&now);
        assert!(text.contains("https://***@elsewhere:4317") && !text.contains("word"), "{text}");
        let session = json!({ "threads": 1, "provider": { "api_token": "word" } });
        assert_eq!(masked("session", session), json!({ "threads": 1, "provider": { "api_token": MASKED } }));
        assert_eq!(masked("tracing.headers", json!({ "authorization": "word" })), MASKED);
        assert_eq!(masked("tls.key", json!("tls/key.pem")), "tls/key.pem");
    }
}
