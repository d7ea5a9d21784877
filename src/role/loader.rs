//! One model: from its files to the service that answers its calls.

use std::sync::Arc;

use tokio::sync::watch;

use super::batching;
use crate::admit::{InFlight, Limit};
use crate::batch::{Batcher, Bounds};
use crate::compute::plan::ThreadPlan;
use crate::compute::session::{self, Device, Runtime, SessionOptions, SessionPlan};
use crate::compute::{CpuShares, CpuUse, Identity, Loaded, Runners, plan, warm};
use crate::config::Config;
use crate::error::{Error, Kind, Result, Room};
use crate::models::{Classified, LoadPlan, Loader, Merging, Ready, Reshaped};
use crate::observe::{Counted, StatisticsTable};

/// The stages of one model version.
pub type ModelService = Counted<Limit<Classified<Reshaped<Batcher<Runners>>>>>;

/// Makes the engines of a version, as many as the thread plan says.
pub type Engines = Arc<dyn Fn(&LoadPlan, ThreadPlan) -> Result<Loaded> + Send + Sync>;

/// Engines of ONNX Runtime.
pub fn onnx_runtime(runtime: Runtime) -> Engines {
    Arc::new(move |plan, threads| {
        let settings = &plan.settings;
        let device: Device = settings
            .device
            .parse()
            .map_err(|error: Error| Error::new(Kind::Unloadable, format!("model.toml: device: {}", error.message())))?;
        session::load(
            &runtime,
            &SessionPlan {
                path: plan.file.clone(),
                device,
                fallback: settings.fallback,
                instances: threads.instances,
                intra_op_threads: threads.intra_op_threads,
                // Threads that wait for work would take the CPU from the front door.
                spin: false,
                options: settings.session_as()?,
            },
        )
    })
}

/// Loads a version: engines, warm-up, threads, and the stages in front of them.
/// Once `leaving` says so, no call waits for company any more.
pub fn loader(
    config: &Config,
    engines: Engines,
    statistics: Arc<StatisticsTable>,
    leaving: watch::Receiver<bool>,
) -> Loader<ModelService> {
    let cpus = config.compute.cpus.unwrap_or_else(plan::cpus);
    let shares = CpuShares::new(cpus);
    let limits = config.limits.clone();
    Arc::new(move |plan: &LoadPlan| {
        let settings = &plan.settings;
        let options: SessionOptions = settings.session_as()?;
        let threads = ThreadPlan::new(cpus, settings.instances, options.intra_op_threads);
        let mut loaded = engines(plan, threads)?;
        plan.declared.check(&loaded.signature)?;
        for advice in plan.declared.beside(&loaded.signature) {
            tracing::warn!(model = %plan.name, version = %plan.version, advice, "model settings");
        }
        let samples = plan.declared.samples(&plan.folder, &loaded.signature)?;
        warm(&mut loaded, &samples)?;
        drop(samples);
        let bounds = Bounds { calls: limits.queue_calls, bytes: limits.queue_bytes.get() };
        let rules = batching::rules(&settings.batch, &loaded.signature, bounds)?;
        let rules = batching::tried(rules, &settings.batch, &mut loaded, &plan.name);

        let (device, instances) = (loaded.device.clone(), loaded.engines.len());
        let signature = Arc::new(loaded.signature.clone());
        let reshapes = plan.declared.reshapes(&signature);
        let merging = Merging { axis: rules.axis.clone(), max_batch: rules.max_batch };
        let merging = reshapes.shown_merging(merging, &signature);
        let shown = Arc::new(reshapes.shown(&signature));
        let statistics = statistics.of(&plan.name, plan.version);
        let on_cpu = device == Device::Cpu.to_string();
        let cpu = on_cpu.then(|| CpuUse { shares: shares.clone(), threads: threads.intra_op_threads.min(cpus) });
        let identity = Identity { model: plan.name.clone(), version: plan.version };
        let runners = Runners::start(identity, loaded, cpu, statistics.clone())?;

        let in_flight = InFlight::new(
            settings.max_in_flight.unwrap_or(limits.in_flight_per_model),
            "the model",
            Room::ModelInFlight,
        );
        let batcher = Batcher::new(runners, signature, rules, statistics.queue().clone(), leaving.clone())
            .map_err(|sentence| batching::unloadable(&sentence))?;
        let classified = Classified::new(settings.clone(), Reshaped::new(reshapes, batcher));
        let service = Counted::new(statistics, Limit::new(in_flight, classified));
        Ok(Ready { service, signature: shown, merging, device, instances })
    })
}
