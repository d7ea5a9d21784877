//! What `model.toml` says of a model.

mod batch;

use std::collections::BTreeMap;
use std::path::Path;

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;

use super::folder::Folder;
use super::labels::Labels;
use super::policy::{Policy, VersionLabels};
use super::triton::TRITON_SETTINGS;
use crate::config::keys::settings;
use crate::config::problem::{explained, shown};
use crate::config::{self, ConfigError, Problem, Setting};
use crate::error::{Error, Kind, Result};

pub use batch::{BatchSettings, CallerTimeout, DimSettings, OnTimeout, Oversized, QueueSettings};

/// The file, beside a model's versions.
pub const SETTINGS_FILE: &str = "model.toml";

/// The largest such file.
const LARGEST: u64 = 1 << 20;
/// More would be a slip: each instance is a thread and holds the weights again.
const MOST_INSTANCES: usize = 256;
/// The same bound as that of the process's limits.
const MOST_CALLS: usize = 1_000_000_000;

settings! {
    /// Settings of one model. Every key is optional.
    pub struct Settings {
        /// Which versions are served.
        versions: Policy = Policy::default(),
        /// Names for versions, which a call may use instead of the number.
        version_labels: VersionLabels = VersionLabels::default(),
        /// Where it runs: "cpu", "cuda:0" or "tensorrt:0".
        device: String = "cpu".into(),
        /// Whether it runs on the CPU where the device cannot be had; else that is an error.
        fallback: bool = false,
        /// Sessions, each with the weights of its own. Without it, what the plan for the CPUs grants.
        instances: Option<usize> = None => "2",
        /// Whether a call that was lost may be run again elsewhere.
        pure: bool = true,
        /// Calls of this model at one time. Without it, limits.in_flight_per_model.
        max_in_flight: Option<usize> = None => "64",
        /// Names for the classes of outputs: per output a file in the model's folder, one name a line.
        labels: BTreeMap<String, Labels> = BTreeMap::new(),
        /// What is handed to ONNX Runtime.
        session: Dict = Dict::new(),
    }
    tables {
        /// How calls are merged.
        batch: BatchSettings,
    }
}

impl Setting for BTreeMap<String, Labels> {
    const ALLOWED: &'static str = "a table of outputs and their files, such as { probs = \"labels.txt\" }";
}

impl Setting for Dict {
    const ALLOWED: &'static str = "a table";
}

impl Settings {
    /// Reads the settings in a model's folder, and the files that they name. What they do not say is as in `triton`,
    /// key by key.
    pub(super) fn read(folder: &Folder, triton: Settings) -> Result<Settings, ConfigError> {
        let by_triton = triton.labels.clone();
        let mut settings = match folder.read(Path::new(SETTINGS_FILE), LARGEST) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => triton,
            Err(error) => return Err(problem("", format!("cannot read: {error}")).into()),
            Ok(text) => config::parse_over(&triton, SETTINGS_FILE, &text)?,
        };
        let mut problems = settings.out_of_range();
        for (output, labels) in &mut settings.labels {
            let is_tritons = by_triton.get(output) == Some(labels);
            if let Err(error) = labels.read(folder) {
                let told = problem(&format!("labels.{output}"), format!("file {:?}: {error}", labels.file()));
                let source = if is_tritons { TRITON_SETTINGS } else { SETTINGS_FILE };
                problems.push(Problem { source: source.into(), ..told });
            }
        }
        ConfigError::unless_empty(problems)?;
        Ok(settings)
    }

    /// What no type says.
    pub(super) fn out_of_range(&self) -> Vec<Problem> {
        let range = |key: &str, found: Option<usize>, most: usize| {
            let wrong = found.filter(|found| !(1..=most).contains(found));
            wrong.map(|found| problem(key, format!("found {found}, allowed is 1 to {most}")))
        };
        let device = self.device.is_empty().then(|| problem("device", "found \"\", allowed is a device".into()));
        [
            range("instances", self.instances, MOST_INSTANCES),
            range("max_in_flight", self.max_in_flight, MOST_CALLS),
            device,
        ]
        .into_iter()
        .flatten()
        .chain(self.batch.out_of_range())
        .collect()
    }

    /// `[session]` as the type of whoever loads the model.
    ///
    /// # Errors
    /// `Unloadable`, naming the file, the key, what was found and what is allowed.
    pub fn session_as<T: DeserializeOwned>(&self) -> Result<T> {
        let table = Figment::from(Serialized::defaults(&self.session));
        table.extract().map_err(|error| {
            let found = find(&self.session, &error.path).map_or("nothing".into(), shown);
            let key = format!("session.{}", error.path.join("."));
            Error::new(Kind::Unloadable, problem(&key, explained(&error.kind, &found)).to_string())
        })
    }

    /// Whether a version that was loaded with these settings runs the same with the others: all but which versions are
    /// served and what they are called.
    pub(super) fn runs_like(&self, other: &Settings) -> bool {
        let named_as = |settings: &Settings| Settings {
            versions: self.versions.clone(),
            version_labels: self.version_labels.clone(),
            ..settings.clone()
        };
        *self == named_as(other)
    }
}

/// The value at a path whose names may have dots in them.
fn find<'a>(table: &'a Dict, path: &[String]) -> Option<&'a Value> {
    let (name, inner) = path.split_first()?;
    let value = table.get(name)?;
    if inner.is_empty() { Some(value) } else { find(value.as_dict()?, inner) }
}

fn problem(key: &str, what: String) -> Problem {
    Problem { source: SETTINGS_FILE.into(), key: key.into(), what }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;

    use super::*;
    use crate::config::Period;
    use crate::infer::Version;

    fn read(text: &str) -> Result<Settings, String> {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(SETTINGS_FILE), text).unwrap();
        fs::write(root.path().join("labels.txt"), "zero\r\none\n\nthree\n").unwrap();
        fs::write(root.path().join("binary"), [0xff, 0xfe]).unwrap();
        let folder = Folder::open(root.path()).unwrap();
        Settings::read(&folder, Settings::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_model_without_settings_has_the_defaults() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Settings::read(&Folder::open(root.path()).unwrap(), Settings::default()), Ok(Settings::default()));
        assert_eq!(read(""), Ok(Settings::default()));
    }

    #[test]
    fn every_key_is_read() {
        let settings = read(
            "versions = [1, 3]\nversion_labels = { stable = 3 }\ndevice = \"cuda:0\"\nfallback = true\n\
             instances = 2\npure = false\nmax_in_flight = 9\nlabels = { probs = \"labels.txt\" }\n\
             [batch]\nmax_batch = 16\nmax_delay = \"2ms\"\n\
             dims.length = { buckets = [8, 16], mask = \"mask\" }\n\
             priority_levels = 3\nlevels.1 = { timeout = \"5ms\", on_timeout = \"delay\" }\n[session]\nintra_op_threads = 1",
        );
        let settings = settings.unwrap();
        assert_eq!(settings.version_labels.get("stable"), Version::new(3));
        assert_eq!((settings.device.as_str(), settings.fallback, settings.pure), ("cuda:0", true, false));
        assert_eq!((settings.instances, settings.max_in_flight), (Some(2), Some(9)));
        assert_eq!((settings.batch.max_batch, settings.batch.max_delay), (Some(16), Period::millis(2)));
        let length = DimSettings { buckets: vec![8, 16], pad: 0.0, mask: Some("mask".into()) };
        assert_eq!(settings.batch.dims["length"], length);
        assert_eq!(settings.batch.default_level(), 2);
        assert_eq!(settings.batch.queue_of(1).timeout, Some(Period::millis(5)));
        assert_eq!(settings.batch.queue_of(2), QueueSettings::default());
        assert_eq!(settings.labels["probs"].names(), ["zero", "one", "", "three"]);
        assert_eq!(settings.labels["probs"].name(4), None);
    }

    #[test]
    fn mistakes_name_the_file_the_key_what_was_found_and_what_is_allowed() {
        for (text, told) in [
            ("instance = 2", "model.toml: instance: unknown key, did you mean instances?; allowed here are versions,"),
            ("[batch]\nsize = 2", "model.toml: batch.size: unknown key; allowed here are max_batch, axis, max_"),
            ("batch = 2", "model.toml: batch: found 2, allowed is a table with the keys max_batch, axis"),
            ("versions = \"newest\"", "model.toml: versions: found \"newest\", allowed is \"latest\", \"latest N\""),
            ("versions = []", "model.toml: versions: found a list, allowed is \"latest\""),
            ("instances = \"2\"", "model.toml: instances: found \"2\", allowed is a whole number"),
            ("instances = 0", "model.toml: instances: found 0, allowed is 1 to 256"),
            ("batch.max_batch = 0", "model.toml: batch.max_batch: found 0, allowed is 1 to 65536"),
            ("batch.priority_levels = 0", "model.toml: batch.priority_levels: found 0, allowed is 1 to 16"),
            ("batch.default_priority = 2", "model.toml: batch.default_priority: found 2, allowed is 1 to priority_"),
            ("batch.levels.01 = {}", "model.toml: batch.levels: found \"01\", allowed is a level of 1 to priority_lev"),
            (
                "batch = { priority_levels = 4294967295, levels.x = {} }",
                "model.toml: batch.priority_levels: found 4294",
            ),
            ("batch.levels.2 = {}", "model.toml: batch.levels: found \"2\", allowed is a level of 1 to priority_lev"),
            ("batch.levels.1 = { wait = 3 }", "model.toml: batch.levels.1.wait: found 3, allowed is a table of lev"),
            ("batch.queue.timeout = 3", "model.toml: batch.queue.timeout: found 3, allowed is a table such as"),
            ("batch.allowed_sizes = [4, 2]", "model.toml: batch.allowed_sizes: found [4, 2], allowed is whole num"),
            ("batch.dims.n.buckets = []", "model.toml: batch.dims.n.buckets: found [], allowed is whole numbers of"),
            ("batch.dims.n = {}", "model.toml: batch.dims.n: found a table, allowed is a table of symbols, such as"),
            ("batch.oversized = \"cut\"", "model.toml: batch.oversized: found \"cut\", allowed is \"split\" or \"ref"),
            ("batch.max_delay = \"1m\"", "model.toml: batch.max_delay: found 60s, allowed is at most 10s"),
            (
                "version_labels = { stable = \"3\" }",
                "model.toml: version_labels.stable: found \"3\", allowed is a table",
            ),
            ("labels = { probs = 3 }", "model.toml: labels.probs: found 3, allowed is a table of outputs"),
            ("labels = { probs = \"no.txt\" }", "model.toml: labels.probs: file \"no.txt\": No such file"),
            ("labels = { probs = \"../x\" }", "model.toml: labels.probs: file \"../x\": "),
            ("labels = { probs = \"binary\" }", "model.toml: labels.probs: file \"binary\": stream did not contain"),
            ("session = 3", "model.toml: session: found 3, allowed is a table"),
            ("versions = ", "model.toml: not TOML\n"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.starts_with(told), "{refused}");
        }
    }

    #[derive(Debug, PartialEq, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Options {
        threads: Option<usize>,
        level: Level,
        config: BTreeMap<String, String>,
    }

    #[derive(Debug, PartialEq, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Level {
        #[default]
        All,
        Basic,
    }

    #[test]
    fn the_session_table_becomes_the_type_of_whoever_loads() {
        let settings = read("[session]\nthreads = 2\nlevel = \"basic\"\nconfig = { \"a.b\" = \"1\" }").unwrap();
        let config = BTreeMap::from([("a.b".to_owned(), "1".to_owned())]);
        assert_eq!(settings.session_as(), Ok(Options { threads: Some(2), level: Level::Basic, config }));
        assert_eq!(Settings::default().session_as(), Ok(Options::default()));
    }

    #[test]
    fn mistakes_in_the_session_table_are_told_as_well() {
        for (text, told) in [
            ("threads = \"2\"", "model.toml: session.threads: found \"2\", allowed is a whole number"),
            ("thread = 2", "model.toml: session.thread: unknown key, did you mean threads?; allowed here are threads,"),
            ("level = \"most\"", "model.toml: session.level: found \"most\", allowed is one of \"all\", \"basic\""),
            ("config = { \"a.b\" = 1 }", "model.toml: session.config.a.b: found 1, allowed is a text"),
        ] {
            let error = read(&format!("[session]\n{text}")).unwrap().session_as::<Options>().unwrap_err();
            assert_eq!(error.kind(), Kind::Unloadable);
            assert!(error.message().starts_with(told), "{error}");
        }
    }

    #[test]
    fn other_names_for_versions_do_not_make_a_loaded_one_another() {
        let one = read("versions = \"all\"\nversion_labels = { stable = 3 }").unwrap();
        assert!(one.runs_like(&Settings::default()));
        assert!(!one.runs_like(&read("instances = 2").unwrap()));
    }
}
