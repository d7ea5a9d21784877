//! How a session is made: the plan for a model's instances, the settings that are handed to ONNX Runtime, and both in
//! the form that ONNX Runtime takes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use serde::Deserialize;

use super::device::Device;
use super::handle::Fault;
use super::library::Runtime;

/// More threads than any machine has use for. Such a number is a slip, and each would be a real thread.
const MOST_THREADS: usize = 1024;
/// Provider options that make ONNX Runtime load more code. Settings lie beside the model, and whoever may add a model
/// may not thereby run code in this process.
const LOADING_CODE: [&str; 2] = ["trt_extra_plugin_lib_paths", "trt_engine_decryption_lib_path"];

/// What to load, and how often and where to run it.
#[derive(Debug, Clone)]
pub struct SessionPlan {
    /// The model file. External data is looked for in its folder.
    pub path: PathBuf,
    /// Where it runs.
    pub device: Device,
    /// Whether it runs on the processor where the device cannot be had; else that is an error.
    pub fallback: bool,
    /// How many sessions there are, each with the weights of its own.
    pub instances: usize,
    /// Threads that work on one operator, the calling one counted in. With 1 there is no pool.
    pub intra_op_threads: usize,
    /// Whether idle threads of a pool spin for a while before they sleep.
    pub spin: bool,
    /// What the model's settings say beyond that.
    pub options: SessionOptions,
}

/// The settings of one model that are handed to ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionOptions {
    /// How far the graph is rewritten when it is loaded.
    pub optimization_level: OptimizationLevel,
    /// Threads that work on one operator, instead of the plan's.
    pub intra_op_threads: Option<usize>,
    /// Threads that run operators side by side, with `parallel_execution`; as many as work on one operator if not set.
    pub inter_op_threads: Option<usize>,
    /// Whether independent operators run side by side.
    pub parallel_execution: bool,
    /// Whether allocations are planned from earlier runs of the same shape. The plans are kept for good, one for each
    /// set of shapes: turn it off where those never repeat.
    pub memory_pattern: bool,
    /// Whether memory is kept for later runs instead of given back after each.
    pub cpu_arena: bool,
    /// Session configuration entries, by ONNX Runtime's names.
    pub config: BTreeMap<String, String>,
    /// Options of the CUDA or TensorRT provider, by ONNX Runtime's names.
    pub provider: BTreeMap<String, String>,
}

impl Default for SessionOptions {
    /// What ONNX Runtime does by itself.
    fn default() -> SessionOptions {
        SessionOptions {
            optimization_level: OptimizationLevel::All,
            intra_op_threads: None,
            inter_op_threads: None,
            parallel_execution: false,
            memory_pattern: true,
            cpu_arena: true,
            config: BTreeMap::new(),
            provider: BTreeMap::new(),
        }
    }
}

/// How far a graph is rewritten when it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizationLevel {
    /// Not at all.
    Disable,
    /// What holds on any device.
    Basic,
    /// Fusions for the device, too.
    Extended,
    /// Layouts, too.
    #[default]
    All,
}

impl From<OptimizationLevel> for GraphOptimizationLevel {
    fn from(level: OptimizationLevel) -> GraphOptimizationLevel {
        match level {
            OptimizationLevel::Disable => GraphOptimizationLevel::Disable,
            OptimizationLevel::Basic => GraphOptimizationLevel::Level1,
            OptimizationLevel::Extended => GraphOptimizationLevel::Level2,
            OptimizationLevel::All => GraphOptimizationLevel::All,
        }
    }
}

impl SessionPlan {
    /// What can be said against the plan before anything is loaded.
    pub(super) fn objection(&self) -> Option<String> {
        let options = &self.options;
        let threads = [Some(self.intra_op_threads), options.intra_op_threads, options.inter_op_threads];
        if let Some(threads) = threads.into_iter().flatten().find(|threads| !(1..=MOST_THREADS).contains(threads)) {
            return Some(format!("{threads} threads are not between 1 and {MOST_THREADS}"));
        }
        if self.instances == 0 {
            return Some("0 instances cannot run anything".into());
        }
        if self.device == Device::Cpu && !options.provider.is_empty() {
            return Some("provider options are for a cuda or tensorrt device, and the device is cpu".into());
        }
        let loading = LOADING_CODE.into_iter().find(|key| options.provider.contains_key(*key));
        loading.map(|key| format!("provider option {key:?} would load code and is not allowed"))
    }

    /// The options of a session on the processor.
    pub(super) fn builder(&self, runtime: &Runtime) -> Result<SessionBuilder, Fault> {
        let options = &self.options;
        let intra_op = options.intra_op_threads.unwrap_or(self.intra_op_threads);
        let spin = if self.spin { "1" } else { "0" };
        let mut builder = Session::builder(runtime.environment())?
            .with_optimization_level(options.optimization_level.into())?
            .with_intra_threads(intra_op)?
            .with_inter_threads(options.inter_op_threads.unwrap_or(intra_op))?
            .with_parallel_execution(options.parallel_execution)?
            .with_memory_pattern(options.memory_pattern)?
            .with_config_entry("session.intra_op.allow_spinning", spin)?
            .with_config_entry("session.inter_op.allow_spinning", spin)?;
        ep::CPU::default().with_arena_allocator(options.cpu_arena).register(&mut builder)?;
        for (key, value) in &options.config {
            builder = builder.with_config_entry(key, value)?;
        }
        Ok(builder)
    }

    /// Adds what the plan's device needs. Where TensorRT cannot take a part of the graph, CUDA does.
    pub(super) fn add_provider(&self, builder: &mut SessionBuilder) -> Result<(), Fault> {
        match self.device {
            Device::Cpu => Ok(()),
            Device::Cuda(number) => register(self.configure(ep::CUDA::default(), number)?, builder),
            Device::TensorRt(number) => {
                register(self.configure(ep::TensorRT::default(), number)?, builder)?;
                register(ep::CUDA::default().with_device_id(number as i32), builder)
            }
        }
    }

    fn configure<P: ArbitrarilyConfigurableExecutionProvider>(&self, provider: P, number: u32) -> Result<P, Fault> {
        let mut provider = provider.with_arbitrary_config("device_id", number);
        for (key, value) in &self.options.provider {
            // `ort` would panic.
            if key.contains('\0') || value.contains('\0') {
                return Err(Fault::new(format!("provider option {key:?} holds a NUL")));
            }
            provider = provider.with_arbitrary_config(key, value);
        }
        Ok(provider)
    }
}

fn register<P: ExecutionProvider>(provider: P, builder: &mut SessionBuilder) -> Result<(), Fault> {
    if !P::is_available()? {
        let name = P::NAME;
        return Err(Fault::new(format!("this ONNX Runtime has no {name}, the one of `fetch-onnxruntime --gpu` has")));
    }
    Ok(provider.register(builder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(device: Device, options: SessionOptions) -> SessionPlan {
        let path = "model.onnx".into();
        SessionPlan { path, device, fallback: false, instances: 1, intra_op_threads: 1, spin: false, options }
    }

    fn read(json: &str) -> Result<SessionOptions, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_left_out_are_onnx_runtimes_own() {
        assert_eq!(read("{}"), Ok(SessionOptions::default()));
        let read = read(r#"{"optimization_level": "basic", "config": {"a": "b"}, "cpu_arena": false}"#).unwrap();
        assert_eq!(read.optimization_level, OptimizationLevel::Basic);
        assert_eq!(read.config["a"], "b");
        assert!(!read.cpu_arena && read.memory_pattern);
    }

    #[test]
    fn unknown_settings_and_levels_are_refused_by_name() {
        let error = read(r#"{"intra_op_thread": 1}"#).unwrap_err();
        assert!(error.contains("unknown field `intra_op_thread`"), "{error}");
        let error = read(r#"{"optimization_level": "most"}"#).unwrap_err();
        assert!(error.contains("`disable`, `basic`, `extended`, `all`"), "{error}");
    }

    #[test]
    fn plans_that_cannot_be_right_are_objected_to() {
        assert_eq!(plan(Device::Cpu, SessionOptions::default()).objection(), None);
        let threads = SessionOptions { intra_op_threads: Some(0), ..SessionOptions::default() };
        assert_eq!(plan(Device::Cpu, threads).objection().unwrap(), "0 threads are not between 1 and 1024");
        let provider = |key: &str| SessionOptions {
            provider: BTreeMap::from([(key.to_owned(), "1".to_owned())]),
            ..SessionOptions::default()
        };
        assert!(plan(Device::Cpu, provider("gpu_mem_limit")).objection().unwrap().ends_with("the device is cpu"));
        assert_eq!(plan(Device::Cuda(0), provider("gpu_mem_limit")).objection(), None);
        let loading = plan(Device::TensorRt(0), provider("trt_extra_plugin_lib_paths")).objection().unwrap();
        assert!(loading.contains("would load code"), "{loading}");
    }
}
