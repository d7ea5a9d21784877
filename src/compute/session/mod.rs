//! Models in ONNX Runtime: the one home of `ort`. A plan goes in, engines with their signature come out. Nothing here
//! knows of repositories or of configuration files, and nothing panics on what a model or a library is like.
//!
//! `ort` gives the library, the environment and the options of a session. Sessions, values and runs go through its C
//! interface: `ort`'s own wrappers panic on types that they do not know, cut strings at a NUL, and allocate names and
//! copy outputs on every run.

mod arena;
mod device;
mod elements;
mod engine;
mod external;
mod handle;
mod library;
mod log;
mod open;
mod options;
mod run_options;
mod signature;
mod strings;
mod tensors;
mod types;
mod walk;

pub use device::Device;
pub use library::{LibraryError, Runtime, find};
pub use options::{OptimizationLevel, SessionOptions, SessionPlan};

use std::sync::Arc;

use crate::compute::{Engine, Loaded};
use crate::error::{Error, Kind, Result};

/// Loads a model: one session for each instance.
///
/// Before ONNX Runtime sees the model its files are checked: external data comes from plain files beneath the model's
/// folder. A model brings no code with it, and nothing is fetched.
///
/// # Errors
/// `Unloadable`, in one sentence that names what is wrong and carries nothing of where the model lies.
pub fn load(runtime: &Runtime, plan: &SessionPlan) -> Result<Loaded> {
    let name = external::file_name(&plan.path);
    let unloadable =
        |reason: &str| Error::new(Kind::Unloadable, format!("{name} cannot be loaded: {}", handle::sentence(reason)));
    if let Some(objection) = plan.objection() {
        return Err(unloadable(&objection));
    }
    external::check(&plan.path)?;
    let (sessions, device) = open::open(runtime, plan)?;
    let first = sessions.first().ok_or_else(|| unloadable("there is no instance"))?;
    let signature = signature::read(first)?;
    let sessions: Vec<_> = sessions.into_iter().map(Arc::new).collect();
    let arenas = sessions.iter().flat_map(|session| arena::of(runtime, session, device)).collect();
    let engines: Result<Vec<Box<dyn Engine>>, _> = sessions
        .into_iter()
        .map(|session| Ok(Box::new(engine::SessionEngine::new(session, &signature)?) as Box<dyn Engine>))
        .collect();
    let engines = engines.map_err(|fault: handle::Fault| unloadable(fault.message()))?;
    Ok(Loaded { signature, device: device.to_string().into(), engines, arenas })
}
