//! What a gateway is told of single models.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Setting;

/// Models by name.
pub type ModelTable = BTreeMap<String, ModelRules>;

/// What goes before what a model's backends say of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelRules {
    /// Whether a call that was lost may be run again elsewhere.
    pub pure: Option<bool>,
    /// By which rule endpoints are picked.
    pub policy: Option<String>,
    /// Whether slow calls are asked of a second endpoint, where the model is pure.
    pub hedge: Option<bool>,
}

impl Setting for ModelTable {
    const ALLOWED: &'static str = "a table of models, each with the keys pure, policy and hedge";
}
