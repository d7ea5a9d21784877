//! The options of an engine's runs: the one switch that stops a run from another thread.

use ort::sys;

use super::handle::{Fault, Handle, api, check};

/// Options that are made once and used by one run after another.
pub(super) struct RunOptions(Handle<sys::OrtRunOptions>);

// SAFETY: while a run uses the options, other threads only call `terminate`, which the C interface has for exactly
// that: "this can be called from another thread". `reset` is called by the one engine that owns the options, between
// its runs, when nothing can call `terminate`: `Interest::while_waited_for` never calls it once a run is over.
#[allow(unsafe_code)]
unsafe impl Sync for RunOptions {}

impl RunOptions {
    pub(super) fn new() -> Result<RunOptions, Fault> {
        let options = Handle::make(api().ReleaseRunOptions, |out| {
            // SAFETY: the object is stored where there is room for it.
            #[allow(unsafe_code)]
            unsafe {
                (api().CreateRunOptions)(out)
            }
        })?;
        // What fails a run is returned, and whoever handles it logs it: callers could otherwise fill the log.
        let fatal = sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL as i32;
        // SAFETY: the options live.
        #[allow(unsafe_code)]
        check(unsafe { (api().RunOptionsSetRunLogSeverityLevel)(options.as_ptr(), fatal) })?;
        Ok(RunOptions(options))
    }

    /// Lets the next run begin, whatever became of the last one.
    pub(super) fn reset(&self) -> Result<(), Fault> {
        // SAFETY: the options live, and no run uses them.
        #[allow(unsafe_code)]
        check(unsafe { (api().RunOptionsUnsetTerminate)(self.as_ptr()) })
    }

    /// Stops the run that uses these options, before its next operator.
    pub(super) fn terminate(&self) {
        // SAFETY: the options live.
        #[allow(unsafe_code)]
        let status = check(unsafe { (api().RunOptionsSetTerminate)(self.as_ptr()) });
        if let Err(fault) = status {
            tracing::debug!(reason = fault.message(), "a run that nobody waits for could not be stopped");
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::OrtRunOptions {
        self.0.as_ptr()
    }
}
