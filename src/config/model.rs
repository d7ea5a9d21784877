//! What a gateway is told of single models.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::keys::settings;
use super::{Key, Section, Setting};

/// Models by name.
pub type ModelTable = BTreeMap<String, ModelRules>;

/// By which rule endpoints are picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PickBy {
    /// Whose answer is predicted to come first.
    #[default]
    ExpectedCompletion,
    /// The least product of round trip and calls in flight.
    PeakEwma,
    /// The fewest calls in flight.
    LeastRequest,
    /// One after the other.
    RoundRobin,
}

impl Setting for PickBy {
    const ALLOWED: &'static str = "\"expected-completion\", \"peak-ewma\", \"least-request\" or \"round-robin\"";
}

settings! {
    /// What goes before what a model's backends say of it.
    pub struct ModelRules {
        /// Whether a call that was lost may be run again elsewhere.
        pure: Option<bool> = None => "true",
        /// By which rule endpoints are picked.
        policy: Option<PickBy> = None => "\"least-request\"",
        /// Whether slow calls are asked of a second endpoint, where the model is pure.
        hedge: Option<bool> = None => "false",
        /// When a call is given to an endpoint.
        binding: Binding = Binding::Early,
    }
}

/// When a call is given to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// As it comes.
    #[default]
    Early,
    /// Once that endpoint can take it. Until then it waits here, and goes with others.
    Late,
}

impl Setting for Binding {
    const ALLOWED: &'static str = "\"early\" or \"late\"";
}

impl Setting for ModelTable {
    const ALLOWED: &'static str = "a table of models, each a table, such as { resnet = { pure = true } }";

    fn of_each(prefix: &str) -> Vec<Key> {
        ModelRules::keys(prefix)
    }
}
