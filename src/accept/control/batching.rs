//! How calls of a model are merged, in ModelConfig: in Triton's words for its clients, and in our parameters for
//! gateways, which merge calls themselves.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::infer::Infer;
use crate::models::{BatchSettings, CallerTimeout, OnTimeout, QueueSettings, Served};
use crate::tensor::{BatchAxis, TensorSpec};
use crate::wire::proto::inference as proto;

/// The batch axis in `infergate.dims` where the model gives it no name.
const UNNAMED: &str = "batch";

/// Says in `config` how calls of `served` are merged, which wait at most `delay` for one another now.
///
/// `max_batch_size` tells clients that the first dimension of every tensor is left out of `dims`, so that it is given
/// only where that is so; the parameters are right for every model:
///
/// - `infergate.batch_axis`: the name of the batch axis; absent where the model has none.
/// - `infergate.dims`: JSON, per input and output the names and sizes of its dimensions, the batch axis by its name.
/// - `infergate.max_batch`: rows of a batch; 1 where calls are not merged.
/// - `infergate.delay_us`: how long a call waits for others now, in microseconds. What changes without a load is never
///   what gateways go by.
pub fn describe<S: Infer>(config: &mut proto::ModelConfig, served: &Served<S>, delay: Duration) {
    let merging = &served.merging;
    let mut publish = |name: &str, value: String| {
        config.parameters.insert(format!("infergate.{name}"), proto::ModelParameter { string_value: value });
    };
    publish("max_batch", merging.max_batch.to_string());
    publish("dims", dims(served));
    publish("delay_us", delay.as_micros().to_string());
    let Some(axis) = &merging.axis else { return };
    publish("batch_axis", name(axis).to_owned());
    if merging.max_batch > 1 && axis.is_first() {
        config.max_batch_size = i32::try_from(merging.max_batch).unwrap_or(i32::MAX);
        let inputs = config.input.iter_mut().map(|input| (&mut input.dims, input.reshape.as_mut()));
        let outputs = config.output.iter_mut().map(|output| (&mut output.dims, output.reshape.as_mut()));
        for (dims, reshape) in inputs.chain(outputs) {
            dims.drain(..1);
            // Both have the axis in front, or it would not be shown.
            if let Some(reshape) = reshape {
                reshape.shape.drain(..1);
            }
        }
        let dynamic = dynamic_batching(&served.settings.batch, delay);
        config.scheduling_choice = Some(proto::model_config::SchedulingChoice::DynamicBatching(dynamic));
    }
}

fn name(axis: &BatchAxis) -> &str {
    axis.symbol().map_or(UNNAMED, |symbol| symbol)
}

fn dims<S: Infer>(served: &Served<S>) -> String {
    let tensors = |specs: &[TensorSpec], places: Option<&[usize]>| {
        let named = specs.iter().enumerate().map(|(index, spec)| {
            let place = places.map(|places| places[index]);
            (spec.name.to_string(), Value::Array(dims_of(spec, place, served.merging.axis.as_ref())))
        });
        Value::Object(named.collect())
    };
    let (axis, signature) = (served.merging.axis.as_ref(), &served.signature);
    let sides = [
        ("inputs".to_owned(), tensors(&signature.inputs, axis.map(BatchAxis::inputs))),
        ("outputs".to_owned(), tensors(&signature.outputs, axis.map(BatchAxis::outputs))),
    ];
    Value::Object(Map::from_iter(sides)).to_string()
}

fn dims_of(spec: &TensorSpec, place: Option<usize>, axis: Option<&BatchAxis>) -> Vec<Value> {
    let dim = |(index, dim): (usize, &crate::tensor::Dim)| match (dim.symbol(), axis) {
        (_, Some(axis)) if place == Some(index) => name(axis).into(),
        (Some(symbol), _) => symbol.into(),
        (None, _) => dim.wire().into(),
    };
    spec.dims.iter().enumerate().map(dim).collect()
}

fn dynamic_batching(settings: &BatchSettings, delay: Duration) -> proto::ModelDynamicBatching {
    let levels = settings.priority_levels;
    let policies = (1..=levels).filter(|level| settings.queue_of(*level) != settings.queue);
    proto::ModelDynamicBatching {
        max_queue_delay_microseconds: delay.as_micros() as u64,
        // One level is what Triton calls none.
        priority_levels: if levels > 1 { levels.into() } else { 0 },
        default_priority_level: if levels > 1 { settings.default_level().into() } else { 0 },
        default_queue_policy: (settings.queue != QueueSettings::default()).then(|| policy(settings.queue)),
        priority_queue_policy: policies.map(|level| (level.into(), policy(settings.queue_of(level)))).collect(),
        ..Default::default()
    }
}

fn policy(settings: QueueSettings) -> proto::ModelQueuePolicy {
    use proto::model_queue_policy::TimeoutAction;
    let action = match settings.on_timeout {
        OnTimeout::Reject => TimeoutAction::Reject,
        OnTimeout::Delay => TimeoutAction::Delay,
    };
    proto::ModelQueuePolicy {
        timeout_action: action.into(),
        default_timeout_microseconds: settings.timeout.map_or(0, |timeout| timeout.get().as_micros() as u64),
        allow_timeout_override: settings.caller_timeout == CallerTimeout::Heeded,
        max_queue_size: settings.calls.map_or(0, |calls| u32::try_from(calls).unwrap_or(u32::MAX)),
    }
}
