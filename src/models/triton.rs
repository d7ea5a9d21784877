//! What a `config.pbtxt` says of a model, in our words, so that a repository of Triton's serves as it lies. A field that
//! would change answers and cannot be honoured is refused, one that is left out of account is named in a warning; none
//! is passed over in silence. It never decides alone: a key of `model.toml` outweighs what is read here.
//!
//! | read | as |
//! |---|---|
//! | `name`, `platform`, `backend` | must be the folder's name, `onnxruntime_onnx`, `onnxruntime`, or empty |
//! | `max_batch_size` | 0: `batch.max_batch = 1`. N: `batch.max_batch = N`, calls with more rows are refused, and calls are merged whether or not `dynamic_batching` is there, as Triton has it when it completes a configuration |
//! | `dynamic_batching` | `batch.max_delay`, `batch.priority_levels`, `batch.default_priority`, `batch.queue`, `batch.levels` |
//! | `instance_group` | `instances` (the sum), `device` (one GPU; of several the first), `fallback` with KIND_AUTO |
//! | `version_policy`, `default_model_filename` | `versions`, the file of each version |
//! | `input`, `output` | compared with the model ([`declared`]); `label_filename` is `labels`; `format` informs only |
//! | `reshape` | the model's shape, where callers have `dims` instead ([`reshape`](super::reshape)): as many -1 in both, in their order, and as many elements before, between and behind them |
//! | `optimization.graph`, some of `parameters`, TensorRT | `[session]` and `device` |
//! | `model_warmup` | calls that each instance runs before the model is ready, instead of a made-up one |
//!
//! Refused: `ensemble_scheduling`, `sequence_batching`, `model_transaction_policy.decoupled`, `batch_input`,
//! `batch_output`, `allow_ragged_batch`, `is_shape_tensor`, `is_non_linear_format_io`, `optional` on an input
//! that the model needs, `cc_model_filenames`, `model_operations`, `model_repository_agents`, KIND_MODEL, passive
//! instances, TensorRT with INT8, and fields that are not known, with their line.
//!
//! Warned of: `preferred_batch_size`, `preserve_ordering`, `rate_limiter`, `profile`, `host_policy`,
//! `secondary_devices`, further GPUs, other `optimization`, `parameters` and accelerators, `response_cache`,
//! `metric_tags`, `model_metrics`, `runtime`, and outputs of the model that are not declared, which are served as well.

mod declared;
mod place;
mod queue;
mod remarks;
mod session;
mod tensor;
mod text;
mod warmup;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::folder::Folder;
use super::labels::Labels;
use super::policy::Policy;
use super::settings::Settings;
use crate::config::{ConfigError, Problem};
use crate::infer::{ModelName, Version};
use crate::wire::proto::inference::{
    self as proto, model_config::SchedulingChoice, model_version_policy::PolicyChoice,
};
use remarks::Remarks;

pub use declared::Declared;

/// The file, beside a model's versions.
pub(super) const TRITON_SETTINGS: &str = "config.pbtxt";

/// The largest such file.
const LARGEST: u64 = 1 << 20;
/// The longest name that a file may have.
const LONGEST_NAME: usize = 255;

/// A `config.pbtxt` in our words.
#[derive(Debug, Default)]
pub(super) struct Translated {
    /// What `model.toml` can say, too.
    pub(super) settings: Settings,
    /// What it cannot.
    pub(super) declared: Declared,
    /// What is left out of account, a sentence each.
    pub(super) advice: Vec<String>,
}

/// Reads the file in a model's folder. A model without one has the defaults.
pub(super) fn read(folder: &Folder, name: &ModelName) -> Result<Translated, ConfigError> {
    let text = match folder.read(Path::new(TRITON_SETTINGS), LARGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Translated::default()),
        Err(error) => return Err(problem("", format!("cannot read: {error}")).into()),
        Ok(text) => text,
    };
    let (mut translated, mut remarks) = translate(&text::parse(&text)?, name);
    translated.declared.look(folder, &mut remarks);
    ConfigError::unless_empty(remarks.problems)?;
    Ok(Translated { advice: remarks.advice, ..translated })
}

/// The file in our words, and what is to be said of it.
fn translate(config: &proto::ModelConfig, name: &ModelName) -> (Translated, Remarks) {
    let mut remarks = Remarks::default();
    check_identity(config, name, &mut remarks);
    check_whole(config, &mut remarks);
    let place = place::place(config, &mut remarks);
    let settings = Settings {
        versions: versions(config.version_policy.as_ref(), &mut remarks),
        device: place.device,
        fallback: place.fallback,
        instances: place.instances,
        labels: labels(config),
        session: session::session(config, place.provider, &mut remarks),
        batch: queue::batch(config, &mut remarks),
        ..Settings::default()
    };
    for found in settings.out_of_range() {
        remarks.refuse(field_of(&found.key), found.what);
    }
    let model_file = model_file(&config.default_model_filename, &mut remarks);
    let declared = Declared::new(config, model_file, &mut remarks);
    (Translated { settings, declared, advice: Vec::new() }, remarks)
}

fn check_identity(config: &proto::ModelConfig, name: &ModelName, remarks: &mut Remarks) {
    for (field, found, allowed) in [
        ("name", &config.name, name.as_str()),
        ("platform", &config.platform, "onnxruntime_onnx"),
        ("backend", &config.backend, "onnxruntime"),
    ] {
        if !found.is_empty() && found != allowed {
            remarks.refuse(field, format!("found {found:?}, allowed is {allowed:?}"));
        }
    }
    remarks.ignore_if(!config.runtime.is_empty(), "runtime", "ONNX Runtime is found by the process");
}

/// Fields that are honoured as a whole or not at all.
fn check_whole(config: &proto::ModelConfig, remarks: &mut Remarks) {
    let decoupled = config.model_transaction_policy.as_ref().is_some_and(|policy| policy.decoupled);
    let libraries = config.model_operations.as_ref().is_some_and(|found| !found.op_library_filename.is_empty());
    let agents = config.model_repository_agents.as_ref().is_some_and(|found| !found.agents.is_empty());
    let sequences = matches!(config.scheduling_choice, Some(SchedulingChoice::SequenceBatching(_)));
    let ensemble = matches!(config.scheduling_choice, Some(SchedulingChoice::EnsembleScheduling(_)));
    for (there, field, why) in [
        (sequences, "sequence_batching", "sequences are not served"),
        (ensemble, "ensemble_scheduling", "ensembles are not served"),
        (decoupled, "model_transaction_policy.decoupled", "decoupled models are not served"),
        (!config.batch_input.is_empty(), "batch_input", "inputs are not made from batches"),
        (!config.batch_output.is_empty(), "batch_output", "outputs are not scattered by inputs"),
        (!config.cc_model_filenames.is_empty(), "cc_model_filenames", "one file serves on every device"),
        (libraries, "model_operations.op_library_filename", "a model may not load code into the process"),
        (agents, "model_repository_agents", "agents may change a model, and are not run"),
    ] {
        if there {
            remarks.refuse(field, why);
        }
    }
    let cached = config.response_cache.as_ref().is_some_and(|cache| cache.enable);
    remarks.ignore_if(cached, "response_cache", "answers are not kept");
    remarks.ignore_if(!config.metric_tags.is_empty(), "metric_tags", "metrics carry their own labels");
    remarks.ignore_if(config.model_metrics.is_some(), "model_metrics", "metrics have their own buckets");
}

fn versions(policy: Option<&proto::ModelVersionPolicy>, remarks: &mut Remarks) -> Policy {
    match policy.and_then(|policy| policy.policy_choice.as_ref()) {
        None => Policy::default(),
        Some(PolicyChoice::All(_)) => Policy::All,
        Some(PolicyChoice::Latest(latest)) => Policy::Latest(latest.num_versions.max(1) as usize),
        Some(PolicyChoice::Specific(specific)) => {
            let version = |number: &i64| u64::try_from(*number).ok().and_then(Version::new);
            let versions: Option<BTreeSet<Version>> = specific.versions.iter().map(version).collect();
            if let Some(versions) = versions.filter(|versions| !versions.is_empty()) {
                return Policy::Only(versions);
            }
            let found = format!("found {:?}, allowed is a list of versions, such as [1, 3]", specific.versions);
            remarks.refuse("version_policy.specific.versions", found);
            Policy::default()
        }
    }
}

fn labels(config: &proto::ModelConfig) -> BTreeMap<String, Labels> {
    let labelled = config.output.iter().filter(|output| !output.label_filename.is_empty());
    labelled.map(|output| (output.name.clone(), Labels::in_file(output.label_filename.clone()))).collect()
}

/// A name within a version's folder; hidden files are not looked at when changes are looked for.
fn model_file(name: &str, remarks: &mut Remarks) -> Option<String> {
    let is_plain = !name.starts_with('.') && !name.contains(['/', '\0']) && name.len() <= LONGEST_NAME;
    if !is_plain {
        let found = format!("found {name:?}, allowed is the name of a file in the version's folder");
        remarks.refuse("default_model_filename", found);
    }
    (is_plain && !name.is_empty()).then(|| name.to_owned())
}

/// The field that was read as one of our keys.
fn field_of(key: &str) -> &str {
    match key {
        "instances" => "instance_group.count",
        "batch.max_batch" => "max_batch_size",
        "batch.max_delay" => "dynamic_batching.max_queue_delay_microseconds",
        "batch.priority_levels" => "dynamic_batching.priority_levels",
        "batch.default_priority" => "dynamic_batching.default_priority_level",
        "batch.levels" => "dynamic_batching.priority_queue_policy",
        other => other,
    }
}

fn problem(field: &str, what: String) -> Problem {
    Problem { source: TRITON_SETTINGS.into(), key: field.into(), what }
}

#[cfg(test)]
mod tests;
