//! The settings in force: those of the start, what has been changed since, and of a process that runs models how each is set.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use super::Process;
use crate::accept::{Form, Settings};
use crate::config::{LogFormat, Now, Told, told};
use crate::infer::{Infer, ModelName, Version};
use crate::models::{Catalog, Served};
use crate::observe::trace::Tracer;

/// What is told of a process without models.
pub(super) fn settings(process: &Process, tracer: &Tracer) -> Settings {
    let (process, tracer) = (process.clone(), tracer.clone());
    Arc::new(move |form| match form {
        Form::Toml => toml(&process, &tracer),
        Form::Json => Value::Object(of_process(&process, &tracer)).to_string(),
    })
}

/// The same of one that runs these.
pub(super) fn with_models<S: Infer>(process: &Process, tracer: &Tracer, models: Models<S>) -> Settings {
    let (process, tracer) = (process.clone(), tracer.clone());
    Arc::new(move |form| match form {
        Form::Toml => toml(&process, &tracer) + &models.comments(),
        Form::Json => {
            let mut all = of_process(&process, &tracer);
            all.insert("served".to_owned(), models.told());
            Value::Object(all).to_string()
        }
    })
}

/// Values of what can be changed, as they are now.
fn now(process: &Process, tracer: &Tracer) -> Now {
    let mut now = Now::new();
    if let Some(log) = &process.log {
        let format = if log.is_json() { LogFormat::Json } else { LogFormat::Text };
        now.insert("log.level", log.filter().into());
        now.insert("log.format", json!(format));
    }
    // Where nobody changed it, it may be what a variable says, and no key.
    if let (Some(pace), Some(first)) = (tracer.pace(), tracer.first_pace())
        && pace.ratio != first.ratio
    {
        now.insert("tracing.ratio", pace.ratio.into());
    }
    now
}

/// Whether traces were switched off, for which there is no key.
fn is_switched_off(tracer: &Tracer) -> bool {
    tracer.pace().is_some_and(|pace| !pace.is_on)
}

fn of_process(process: &Process, tracer: &Tracer) -> Map<String, Value> {
    let mut all = process.settings.json(&now(process, tracer));
    if is_switched_off(tracer) {
        let start = json!({ "value": true, "source": "default" });
        let off = json!({ "value": false, "source": "changed while running", "start": start });
        all.insert("tracing.is_on".to_owned(), off);
    }
    all
}

fn toml(process: &Process, tracer: &Tracer) -> String {
    let text = process.settings.toml(&now(process, tracer));
    match is_switched_off(tracer) {
        true => format!("# Traces are switched off, changed while running (trace_level OFF of TraceSetting).\n{text}"),
        false => text,
    }
}

/// A version's settings, as far as they are those that it runs with: which versions are served, and by which names, may have
/// changed since without a load.
fn of_version<S: Infer>(served: &Served<S>) -> Vec<Told> {
    let all = told(&*served.settings).into_iter();
    all.filter(|told| !matches!(&*told.path, "versions" | "version_labels")).collect()
}

type OfVersion = (ModelName, Version, Vec<Told>);

/// The models of a catalog, and how those were set that were there at the start.
pub(super) struct Models<S: Infer> {
    catalog: Catalog<S>,
    first: Arc<OnceLock<Vec<OfVersion>>>,
}

impl<S: Infer> Clone for Models<S> {
    fn clone(&self) -> Self {
        Models { catalog: self.catalog.clone(), first: self.first.clone() }
    }
}

impl<S: Infer> Models<S> {
    pub(super) fn of(catalog: Catalog<S>) -> Models<S> {
        Models { catalog, first: Arc::default() }
    }

    /// All have been loaded for the first time.
    pub(super) fn have_started(&self) {
        self.first.get_or_init(|| self.served());
    }

    fn served(&self) -> Vec<OfVersion> {
        let of = |served: &Arc<Served<S>>| (served.name.clone(), served.version, of_version(&**served));
        self.catalog.served().iter().map(of).collect()
    }

    /// Each that serves, with what its settings were at the start; while those are loaded for the first time it is the start.
    fn since_start(&self) -> Vec<(OfVersion, Option<Vec<Told>>)> {
        let with_first = |now: OfVersion| {
            let first = match self.first.get() {
                None => Some(now.2.clone()),
                Some(first) => {
                    let own = first.iter().find(|(name, version, _)| (name, version) == (&now.0, &now.1));
                    own.map(|(_, _, told)| told.clone())
                }
            };
            (now, first)
        };
        self.served().into_iter().map(with_first).collect()
    }

    fn told(&self) -> Value {
        let of = |((name, version, now), first): (OfVersion, Option<Vec<Told>>)| {
            let entry = |(at, told): (usize, Told)| {
                let start = first.as_ref().map(|first| &first[at]).filter(|start| **start != told);
                let mut entry = json!({ "value": told.value });
                if let Some(start) = start {
                    entry["start"] = json!({ "value": start.value });
                }
                (told.path, entry)
            };
            let settings: Map<String, Value> = now.into_iter().enumerate().map(entry).collect();
            let (name, version) = (name.as_str(), version.number());
            json!({ "name": name, "version": version, "served_at_start": first.is_some(), "settings": settings })
        };
        self.since_start().into_iter().map(of).collect()
    }

    /// The same as comments, without what has its default.
    fn comments(&self) -> String {
        let mut text =
            "\n# Models that are served, as they were set when they were loaded; defaults are left out.\n".to_owned();
        for ((name, version, now), first) in self.since_start() {
            let new = if first.is_none() { ", not served at the start" } else { "" };
            _ = writeln!(text, "# {name}, version {version}{new}");
            for (at, told) in now.iter().enumerate() {
                let start = first.as_ref().map(|first| &first[at]).filter(|start| *start != told);
                match start {
                    None if told.is_default => {}
                    None => _ = writeln!(text, "#   {}", told.text()),
                    Some(start) => {
                        _ = writeln!(
                            text,
                            "#   {} # changed while running; at the start {}",
                            told.text(),
                            start.text()
                        );
                    }
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::observe::log::tests::kept;
    use crate::observe::otlp::{Collector, Protocol};
    use crate::observe::trace::{Pace, Rules, Sampler};

    #[tokio::test]
    async fn what_the_log_and_traces_are_now_is_told_beside_what_they_were_at_the_start() {
        let (log, _, _subscriber) = kept("info", false);
        let sampler = Sampler { ratio: 0.01, parent_based: true };
        let collector = Collector::at("http://127.0.0.1:1", Protocol::Grpc);
        let tracer = Tracer::start(Rules { sampler, slow: Duration::from_secs(1), queue: 1 }, &collector).unwrap();
        let process = Process { log: Some(log.clone()), ..Process::from(&Config::default()) };
        let settings = settings(&process, &tracer);
        let before = settings(Form::Toml);
        assert!(!before.contains("changed while running"), "{before}");
        log.set_filter("debug,h2=off").unwrap();
        log.set_json(true);
        tracer.set_pace(Pace { is_on: false, ratio: 0.5 });
        let now = settings(Form::Toml);
        for line in [
            "level = \"debug,h2=off\" # changed while running; at the start \"info\" (default)",
            "format = \"json\" # changed while running; at the start \"text\" (default)",
            "ratio = 0.5 # changed while running; at the start not set",
        ] {
            assert!(now.lines().any(|told| told == line), "{line} is not in\n{now}");
        }
        assert!(now.starts_with("# Traces are switched off, changed while running"), "{now}");
        let told: Value = serde_json::from_str(&settings(Form::Json)).unwrap();
        assert_eq!(
            (&told["log.format"]["value"], &told["log.format"]["start"]["value"]),
            (&"json".into(), &"text".into())
        );
        assert_eq!((&told["tracing.is_on"]["value"], told["limits.in_flight"].get("start")), (&false.into(), None));
        log.set_filter("info").unwrap();
        log.set_json(false);
        tracer.set_pace(tracer.first_pace().unwrap());
        assert_eq!(settings(Form::Toml), before);
    }
}
