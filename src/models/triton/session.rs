//! `parameters` and `optimization` as `[session]`.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::remarks::Remarks;
use crate::wire::proto::inference as proto;

/// What is handed to ONNX Runtime.
pub(super) fn session(config: &proto::ModelConfig, provider: Dict, remarks: &mut Remarks) -> Dict {
    let mut session = Dict::new();
    if !provider.is_empty() {
        session.insert("provider".into(), provider.into());
    }
    if let Some(policy) = &config.optimization {
        optimization(policy, &mut session, remarks);
    }
    let parameters: BTreeMap<&str, &str> =
        config.parameters.iter().map(|(name, value)| (&**name, &*value.string_value)).collect();
    for (name, value) in parameters {
        parameter(name, value, &mut session, remarks);
    }
    session
}

fn optimization(policy: &proto::ModelOptimizationPolicy, session: &mut Dict, remarks: &mut Remarks) {
    let level = match policy.graph.as_ref().map_or(0, |graph| graph.level) {
        -1 => Some("basic"),
        1 => Some("extended"),
        2 => Some("disable"),
        // ONNX Runtime's default, which Triton takes for any other level, too.
        _ => None,
    };
    session.extend(level.map(|level| ("optimization_level".to_owned(), level.into())));
    let own = "it changes no answer";
    for (there, field) in [
        (policy.priority != 0, "priority"),
        (policy.cuda.is_some(), "cuda"),
        (policy.input_pinned_memory.is_some(), "input_pinned_memory"),
        (policy.output_pinned_memory.is_some(), "output_pinned_memory"),
        (policy.gather_kernel_buffer_threshold != 0, "gather_kernel_buffer_threshold"),
        (policy.eager_batching, "eager_batching"),
    ] {
        remarks.ignore_if(there, &format!("optimization.{field}"), own);
    }
}

/// Those that Triton hands to ONNX Runtime, and for which we have a word.
fn parameter(name: &str, value: &str, session: &mut Dict, remarks: &mut Remarks) {
    let read = match name {
        // 0 leaves it to the server.
        "intra_op_thread_count" => threads(value).map(|count| count.map(|count| ("intra_op_threads", count))),
        "inter_op_thread_count" => threads(value).map(|count| count.map(|count| ("inter_op_threads", count))),
        "execution_mode" => switch(value).map(|on| Some(("parallel_execution", on))),
        "enable_mem_arena" => switch(value).map(|on| Some(("cpu_arena", on))),
        "enable_mem_pattern" => switch(value).map(|on| Some(("memory_pattern", on))),
        ALLOCATOR => {
            let entry = Dict::from([(name.to_owned(), value.into())]);
            Ok(Some(("config", entry.into())))
        }
        _ => {
            remarks.ignore(&format!("parameters {name:?}"), "ONNX Runtime is not told of it");
            return;
        }
    };
    match read {
        Ok(entry) => session.extend(entry.map(|(key, value)| (key.to_owned(), value))),
        Err(allowed) => {
            remarks.refuse(&format!("parameters {name:?}"), format!("allowed is {allowed}, found {value:?}"));
        }
    }
}

const ALLOCATOR: &str = "session.use_device_allocator_for_initializers";

fn threads(value: &str) -> Result<Option<Value>, &'static str> {
    let count: u32 = value.trim().parse().map_err(|_| "a whole number")?;
    Ok((count > 0).then(|| count.into()))
}

fn switch(value: &str) -> Result<Value, &'static str> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true.into()),
        "0" | "false" => Ok(false.into()),
        _ => Err("\"0\" or \"1\""),
    }
}
