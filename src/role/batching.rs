//! What a model's settings say of batching, as rules for its queue.

use std::time::Duration;

use crate::batch::{Bounds, Level, Pad, Rules};
use crate::compute::{Loaded, trial};
use crate::error::{Error, Kind, Result};
use crate::infer::ModelName;
use crate::models::{BatchSettings, CallerTimeout, OnTimeout, Oversized, QueueSettings, SETTINGS_FILE};
use crate::tensor::{BatchAxis, Signature};

/// Rows that a batch may have where nobody says how many.
const MAX_BATCH: usize = 32;

/// The rules of a model with this signature, whose calls wait within `bounds`.
///
/// # Errors
/// `Unloadable` where the settings ask for batching and a tensor of the model forbids it.
pub fn rules(settings: &BatchSettings, signature: &Signature, bounds: Bounds) -> Result<Rules> {
    let asked_for = asked_for(settings);
    let axis = match BatchAxis::find(signature, settings.axis.as_deref(), asked_for.is_some()) {
        Ok(axis) => Some(axis),
        Err(forbids) => match asked_for {
            Some(key) => return Err(unloadable(&format!("{key}: the model cannot be batched: {forbids}"))),
            None => None,
        },
    };
    let wanted = settings.max_batch.or(settings.allowed_sizes.last().copied());
    let largest = wanted.unwrap_or(MAX_BATCH);
    let pads = settings.dims.iter().map(|(symbol, dim)| Pad {
        symbol: symbol.clone().into(),
        buckets: dim.buckets.clone(),
        value: dim.pad,
        mask: dim.mask.clone().map(Into::into),
    });
    Ok(Rules {
        bounds,
        max_batch: if axis.is_some() { largest } else { 1 },
        max_batch_is_firm: wanted.is_some() || settings.oversized == Oversized::Refuse,
        axis,
        allowed_sizes: settings.allowed_sizes.clone(),
        splits_oversized: settings.oversized == Oversized::Split,
        pads: pads.collect(),
        max_delay: settings.max_delay.get(),
        slo_p99: settings.slo_p99.map(|slo| slo.get()),
        levels: (1..=settings.priority_levels).map(|number| level(settings.queue_of(number))).collect(),
        default_level: settings.default_level() as usize - 1,
    })
}

/// Leaves off batching where a trial shows that rows affect one another, unless the settings ask for it: then whoever
/// wrote them may know better.
pub fn tried(rules: Rules, settings: &BatchSettings, loaded: &mut Loaded, model: &ModelName) -> Rules {
    let (Some(axis), Some(engine)) = (rules.axis.as_ref().filter(|_| rules.max_batch > 1), loaded.engines.first_mut())
    else {
        return rules;
    };
    let Some(why) = trial::refusal(engine.as_mut(), &loaded.signature, axis) else { return rules };
    match asked_for(settings) {
        Some(key) => {
            tracing::warn!(%model, why, "calls are batched because of batch.{key}, but a trial gave other answers");
            rules
        }
        None => {
            tracing::warn!(%model, why, "calls are not batched: a trial gave other answers");
            Rules { axis: None, max_batch: 1, ..rules }
        }
    }
}

/// The key that asks for batching, where one does.
fn asked_for(settings: &BatchSettings) -> Option<&'static str> {
    let asks = [
        ("max_batch", settings.max_batch.is_some_and(|rows| rows > 1)),
        ("axis", settings.axis.is_some()),
        ("max_delay", !settings.max_delay.get().is_zero()),
        ("slo_p99", settings.slo_p99.is_some()),
        ("allowed_sizes", !settings.allowed_sizes.is_empty()),
        ("dims", !settings.dims.is_empty()),
    ];
    asks.into_iter().find(|(_, asks)| *asks).map(|(key, _)| key)
}

fn level(settings: QueueSettings) -> Level {
    Level {
        timeout: settings.timeout.map(|timeout| timeout.get()).filter(|timeout| *timeout > Duration::ZERO),
        rejects: settings.on_timeout == OnTimeout::Reject,
        heeds_callers: settings.caller_timeout == CallerTimeout::Heeded,
        calls: settings.calls.unwrap_or(usize::MAX),
    }
}

/// Why a model's settings of batching keep it from being loaded.
pub fn unloadable(sentence: &str) -> Error {
    Error::new(Kind::Unloadable, format!("{SETTINGS_FILE}: batch.{sentence}"))
}
