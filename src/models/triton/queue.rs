//! How calls are merged and how they may wait.

use std::collections::BTreeMap;

use super::remarks::Remarks;
use crate::config::Period;
use crate::models::settings::{BatchSettings, CallerTimeout, OnTimeout, Oversized, QueueSettings};
use crate::wire::proto::inference::{self as proto, model_config::SchedulingChoice};
use proto::model_queue_policy::TimeoutAction;

/// `max_batch_size` and `dynamic_batching`.
pub(super) fn batch(config: &proto::ModelConfig, remarks: &mut Remarks) -> BatchSettings {
    let without = proto::ModelDynamicBatching::default();
    let scheduled = match &config.scheduling_choice {
        Some(SchedulingChoice::DynamicBatching(batching)) => batching,
        _ => &without,
    };
    let rows = usize::try_from(config.max_batch_size).ok();
    if rows.is_none() {
        remarks.refuse("max_batch_size", format!("found {}, allowed is 0 or more", config.max_batch_size));
    }
    let oversized = if config.max_batch_size > 0 { Oversized::Refuse } else { Oversized::Split };
    let batch = BatchSettings { max_batch: rows.map(|rows| rows.max(1)), oversized, ..BatchSettings::default() };
    waiting(batch, scheduled, remarks)
}

fn waiting(batch: BatchSettings, from: &proto::ModelDynamicBatching, remarks: &mut Remarks) -> BatchSettings {
    let preferred = !from.preferred_batch_size.is_empty();
    let ready = "a batch starts with the calls that are there when an instance is free";
    remarks.ignore_if(preferred, "dynamic_batching.preferred_batch_size", ready);
    let order = "each answer goes out when it is there; a stream's answers carry the ids of its calls";
    remarks.ignore_if(from.preserve_ordering, "dynamic_batching.preserve_ordering", order);
    let field = "dynamic_batching.max_queue_delay_microseconds";
    let max_delay = period(from.max_queue_delay_microseconds, field, remarks);
    let by_level: BTreeMap<u64, &proto::ModelQueuePolicy> =
        from.priority_queue_policy.iter().map(|(level, policy)| (*level, policy)).collect();
    let levels = by_level.into_iter().map(|(level, policy)| {
        let field = format!("dynamic_batching.priority_queue_policy.{level}");
        (level.to_string(), waits(Some(policy), &field, remarks))
    });
    let levels = levels.collect();
    BatchSettings {
        max_delay,
        priority_levels: count(from.priority_levels.max(1)),
        default_priority: (from.priority_levels > 0).then(|| count(from.default_priority_level)),
        queue: waits(from.default_queue_policy.as_ref(), "dynamic_batching.default_queue_policy", remarks),
        levels,
        ..batch
    }
}

/// Where no policy is given, no timeout of a call is heeded: Triton has it so.
fn waits(policy: Option<&proto::ModelQueuePolicy>, field: &str, remarks: &mut Remarks) -> QueueSettings {
    let without = proto::ModelQueuePolicy::default();
    let policy = policy.unwrap_or(&without);
    let on_timeout = match TimeoutAction::try_from(policy.timeout_action) {
        Ok(TimeoutAction::Reject) => OnTimeout::Reject,
        Ok(TimeoutAction::Delay) => OnTimeout::Delay,
        Err(_) => {
            let found = format!("found {}, allowed is REJECT or DELAY", policy.timeout_action);
            remarks.refuse(&format!("{field}.timeout_action"), found);
            OnTimeout::Reject
        }
    };
    let timeout =
        period(policy.default_timeout_microseconds, &format!("{field}.default_timeout_microseconds"), remarks);
    QueueSettings {
        timeout: Some(timeout).filter(|timeout| *timeout > Period::ZERO),
        on_timeout,
        caller_timeout: if policy.allow_timeout_override { CallerTimeout::Heeded } else { CallerTimeout::Ignored },
        calls: Some(policy.max_queue_size as usize).filter(|calls| *calls > 0),
    }
}

fn period(micros: u64, field: &str, remarks: &mut Remarks) -> Period {
    Period::micros(micros).unwrap_or_else(|| {
        remarks.refuse(field, format!("found {micros}, allowed is a year at most"));
        Period::ZERO
    })
}

/// What does not fit is too large for any of our ranges, too.
fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
