//! What a gateway is told of single models.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Setting;

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

/// What goes before what a model's backends say of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelRules {
    /// Whether a call that was lost may be run again elsewhere.
    pub pure: Option<bool>,
    /// By which rule endpoints are picked.
    pub policy: Option<PickBy>,
    /// Whether slow calls are asked of a second endpoint, where the model is pure.
    pub hedge: Option<bool>,
    /// When a call is given to an endpoint.
    pub binding: Binding,
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

impl Setting for ModelTable {
    const ALLOWED: &'static str =
        "a table of models, each with the keys pure, policy, hedge and binding, which is \"early\" or \"late\"";
}
