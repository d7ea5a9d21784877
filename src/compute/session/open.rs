//! A session on its device: a model that ONNX Runtime has loaded and can run.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort::sys;

use super::device::Device;
use super::external::file_name;
use super::handle::{Fault, Handle, api, sentence};
use super::library::Runtime;
use super::options::SessionPlan;
use crate::error::{Error, Kind, Result};

/// A loaded model. Whoever holds outputs of it holds it, too.
pub(super) struct OpenSession {
    session: Handle<sys::OrtSession>,
    /// Outlives the session, which was made in its environment.
    _runtime: Runtime,
}

// SAFETY: one engine runs a session, by `&mut self`. Everyone else who shares it, the outputs, only keeps it alive.
#[allow(unsafe_code)]
unsafe impl Sync for OpenSession {}

impl OpenSession {
    pub(super) fn as_ptr(&self) -> *mut sys::OrtSession {
        self.session.as_ptr()
    }

    /// Loads the model file. Not through `ort`, which describes what it loaded at once and panics on types that it
    /// does not know.
    fn load(runtime: &Runtime, builder: &SessionBuilder, model: &Path) -> Result<OpenSession, Fault> {
        let path = CString::new(model.as_os_str().as_bytes()).map_err(|_| Fault::new("its path holds a NUL"))?;
        let session = Handle::make(api().ReleaseSession, |out| {
            // SAFETY: environment and options live for the length of the call, and the path ends in NUL.
            #[allow(unsafe_code)]
            unsafe {
                (api().CreateSession)(runtime.environment().ptr(), path.as_ptr(), builder.ptr(), out)
            }
        })?;
        Ok(OpenSession { session, _runtime: runtime.clone() })
    }
}

/// Loads a plan's instances, and says on which device they are.
///
/// # Errors
/// `Unloadable`: the provider cannot be had and there is no fallback, or ONNX Runtime refuses the model.
pub(super) fn open(runtime: &Runtime, plan: &SessionPlan) -> Result<(Vec<OpenSession>, Device)> {
    let (name, device) = (file_name(&plan.path), plan.device);
    let reason = |fault: Fault| match cure(fault.message()) {
        Some(cure) => cure,
        None => sentence(&without_folders(fault.message(), runtime, plan)),
    };
    let on_cpu = || match plan.builder(runtime).and_then(|builder| instances(runtime, &builder, plan)) {
        Ok(sessions) => Ok((sessions, Device::Cpu)),
        Err(fault) => Err(Error::new(Kind::Unloadable, format!("{name} cannot be loaded: {}", reason(fault)))),
    };
    if device == Device::Cpu {
        return on_cpu();
    }
    match on_device(runtime, plan) {
        Ok(sessions) => Ok((sessions, device)),
        Err(fault) if plan.fallback => {
            tracing::warn!(model = name, %device, reason = reason(fault), "the model runs on cpu instead");
            on_cpu()
        }
        Err(fault) => Err(Error::new(Kind::Unloadable, format!("{name} cannot run on {device}: {}", reason(fault)))),
    }
}

/// What to do about complex elements, which ONNX Runtime has no kernels for and refuses in words of its own.
fn cure(message: &str) -> Option<String> {
    let name = ["complex64", "complex128"].into_iter().find(|name| message.contains(&format!("tensor({name})")))?;
    Some(format!(
        "it has elements of type {}, which the protocols cannot carry: split them into real and imaginary parts in the \
         model",
        name.to_uppercase()
    ))
}

fn on_device(runtime: &Runtime, plan: &SessionPlan) -> Result<Vec<OpenSession>, Fault> {
    let mut builder = plan.builder(runtime)?;
    plan.add_provider(&mut builder)?;
    instances(runtime, &builder, plan)
}

fn instances(runtime: &Runtime, builder: &SessionBuilder, plan: &SessionPlan) -> Result<Vec<OpenSession>, Fault> {
    (0..plan.instances).map(|_| OpenSession::load(runtime, builder, &plan.path)).collect()
}

/// A message without the folders of the model and of the library, of which a caller is told nothing.
fn without_folders(message: &str, runtime: &Runtime, plan: &SessionPlan) -> String {
    let model = plan.path.parent();
    let real = model.and_then(|folder| folder.canonicalize().ok());
    [model, real.as_deref(), runtime.path().parent()].into_iter().flatten().fold(message.to_owned(), without)
}

fn without(message: String, folder: &Path) -> String {
    // Of a relative one nothing of the machine can be read, and its name might be a part of any word.
    match folder.to_str() {
        Some(path) if folder.is_absolute() && path != "/" => message.replace(&format!("{path}/"), ""),
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_the_files_name_and_loses_its_folder() {
        let said = "Load model from /srv/models/m/1/model.onnx failed: /srv/models/m/1/w.bin is gone";
        let kept = without(said.to_owned(), Path::new("/srv/models/m/1"));
        assert_eq!(kept, "Load model from model.onnx failed: w.bin is gone");
        for folder in ["/", "", "m"] {
            assert_eq!(without(said.to_owned(), Path::new(folder)), said);
        }
    }
}
