//! Where a model runs: instances and the devices they are on.

use std::collections::BTreeSet;

use figment::value::Dict;

use super::remarks::Remarks;
use crate::wire::proto::inference as proto;
use proto::model_instance_group::Kind;
use proto::model_optimization_policy::execution_accelerators::Accelerator;

/// Where a model runs, in the words of our settings.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) device: String,
    pub(super) fallback: bool,
    pub(super) instances: Option<usize>,
    /// `session.provider`.
    pub(super) provider: Dict,
}

/// `instance_group` and the accelerators of `optimization`.
pub(super) fn place(config: &proto::ModelConfig, remarks: &mut Remarks) -> Place {
    let groups: Vec<(Kind, &proto::ModelInstanceGroup)> =
        config.instance_group.iter().filter_map(|group| Some((kind(group, remarks)?, group))).collect();
    groups.iter().for_each(|(_, group)| check(group, remarks));
    let on_gpu = |(kind, group): &&(Kind, &proto::ModelInstanceGroup)| match kind {
        Kind::Gpu => true,
        Kind::Auto => !group.gpus.is_empty(),
        Kind::Cpu | Kind::Model => false,
    };
    let gpu_groups: Vec<_> = groups.iter().filter(on_gpu).collect();
    let Some((_, first)) = gpu_groups.first() else {
        let instances = instances(groups.iter().map(|(_, group)| *group), remarks);
        ignore_accelerators(config, "the model runs on the CPU, by ONNX Runtime's own kernels", remarks);
        return Place { device: "cpu".into(), fallback: false, instances, provider: Dict::new() };
    };
    let gpus: BTreeSet<i32> = gpu_groups.iter().flat_map(|(_, group)| &group.gpus).copied().collect();
    let number = first.gpus.first().copied().unwrap_or(0);
    let only = format!("a model runs on one device, here GPU {number}; run a process for each GPU");
    remarks.ignore_if(gpus.len() > 1, "instance_group.gpus", &only);
    let names_none = gpu_groups.iter().any(|(_, group)| group.gpus.is_empty());
    remarks.ignore_if(names_none, "instance_group.kind on every GPU", &only);
    remarks.ignore_if(gpu_groups.len() < groups.len(), "instance_group on the CPU", &only);
    let (provider_name, provider) = accelerated(config, remarks);
    Place {
        device: format!("{provider_name}:{number}"),
        // Triton takes the CPU then where the GPU is not there.
        fallback: gpu_groups.iter().all(|(kind, _)| *kind == Kind::Auto),
        instances: instances(gpu_groups.iter().map(|(_, group)| *group), remarks),
        provider,
    }
}

fn kind(group: &proto::ModelInstanceGroup, remarks: &mut Remarks) -> Option<Kind> {
    match Kind::try_from(group.kind) {
        Ok(Kind::Model) => remarks.refuse("instance_group.kind", "KIND_MODEL: a model does not place itself"),
        Err(_) => remarks.refuse("instance_group.kind", format!("found {}, which is no kind", group.kind)),
        Ok(kind) => return Some(kind),
    }
    None
}

fn check(group: &proto::ModelInstanceGroup, remarks: &mut Remarks) {
    if group.passive {
        remarks.refuse("instance_group.passive", "an instance that gets no calls serves nobody");
    }
    if let Some(number) = group.gpus.iter().find(|number| **number < 0) {
        remarks.refuse("instance_group.gpus", format!("found {number}, allowed is 0 or more"));
    }
    for (there, field, why) in [
        (group.rate_limiter.is_some(), "rate_limiter", "runs take shares of the CPU by themselves"),
        (!group.profile.is_empty(), "profile", "it is for TensorRT plans"),
        (!group.host_policy.is_empty(), "host_policy", "place the process as a whole"),
        (!group.secondary_devices.is_empty(), "secondary_devices", "a model runs on one device"),
    ] {
        remarks.ignore_if(there, &format!("instance_group.{field}"), why);
    }
}

/// The sum of the counts; a count that is not said is 1, and where none is, the plan for the CPUs decides.
fn instances<'a>(
    groups: impl Iterator<Item = &'a proto::ModelInstanceGroup> + Clone,
    remarks: &mut Remarks,
) -> Option<usize> {
    if let Some(group) = groups.clone().find(|group| group.count < 0) {
        remarks.refuse("instance_group.count", format!("found {}, allowed is 0 or more", group.count));
    }
    let is_said = groups.clone().any(|group| group.count > 0);
    is_said.then(|| groups.map(|group| group.count.max(1) as usize).sum())
}

/// The first accelerator for GPUs that we know, and its options.
fn accelerated(config: &proto::ModelConfig, remarks: &mut Remarks) -> (&'static str, Dict) {
    let (mut device, mut provider) = ("cuda", Dict::new());
    for (field, accelerator) in accelerators(config) {
        match (field, &*accelerator.name) {
            (GPU, "tensorrt") => (device, provider) = ("tensorrt", tensorrt(accelerator, remarks)),
            (GPU, "cuda") if accelerator.parameters.is_empty() => {}
            (_, name) => remarks.ignore(&format!("{field} {name:?}"), "answers are the same without it"),
        }
    }
    (device, provider)
}

/// Its options as far as answers depend on them.
fn tensorrt(accelerator: &Accelerator, remarks: &mut Remarks) -> Dict {
    let mut provider = Dict::new();
    let mut parameters: Vec<(&String, &String)> = accelerator.parameters.iter().collect();
    parameters.sort();
    for (name, value) in parameters {
        let field = format!("{GPU} \"tensorrt\" {name}");
        let option = match (&**name, &**value) {
            ("precision_mode", "FP32") => continue,
            ("precision_mode", "FP16") => "trt_fp16_enable",
            ("precision_mode", "BF16") => "trt_bf16_enable",
            ("precision_mode", _) => {
                remarks.refuse(&field, format!("found {value:?}, allowed is \"FP32\", \"FP16\" or \"BF16\""));
                continue;
            }
            _ => {
                remarks.ignore(&field, "options of the provider are taken from [session] provider in model.toml");
                continue;
            }
        };
        provider.insert(option.to_owned(), "1".into());
    }
    provider
}

const GPU: &str = "optimization.execution_accelerators.gpu_execution_accelerator";
const CPU: &str = "optimization.execution_accelerators.cpu_execution_accelerator";

fn accelerators(config: &proto::ModelConfig) -> impl Iterator<Item = (&'static str, &Accelerator)> {
    let accelerators = config.optimization.as_ref().and_then(|policy| policy.execution_accelerators.as_ref());
    accelerators.into_iter().flat_map(|found| {
        let on_gpu = found.gpu_execution_accelerator.iter().map(|one| (GPU, one));
        on_gpu.chain(found.cpu_execution_accelerator.iter().map(|one| (CPU, one)))
    })
}

fn ignore_accelerators(config: &proto::ModelConfig, why: &str, remarks: &mut Remarks) {
    for (field, accelerator) in accelerators(config) {
        remarks.ignore(&format!("{field} {:?}", accelerator.name), why);
    }
}
