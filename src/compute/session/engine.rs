//! The engine over one session: it runs a batch on the calling thread and stops when nobody waits for it any more.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;

use bytestring::ByteString;
use ort::sys;
use smallvec::{SmallVec, smallvec};

use super::handle::{Fault, Handle, api, check};
use super::open::OpenSession;
use super::run_options::RunOptions;
use super::tensors::{self, Input};
use crate::compute::Engine;
use crate::error::{Error, Kind, Result};
use crate::infer::Interest;
use crate::tensor::{Signature, Tensor, TensorSpec};

/// A list that needs no memory of its own for as many tensors as models usually have.
type List<T> = SmallVec<[T; 8]>;

/// A session with what every run of it needs, made once.
pub(super) struct SessionEngine {
    session: Arc<OpenSession>,
    options: Arc<RunOptions>,
    memory: Handle<sys::OrtMemoryInfo>,
    inputs: Vec<Named>,
    outputs: Vec<Named>,
}

/// An input or output with its name as the C interface takes it.
struct Named {
    spec: TensorSpec,
    name: CString,
}

/// The inputs of one run.
struct Feed<'a> {
    names: List<*const c_char>,
    values: List<Input<'a>>,
}

impl SessionEngine {
    /// An engine over a session with this signature.
    pub(super) fn new(session: Arc<OpenSession>, signature: &Signature) -> Result<SessionEngine, Fault> {
        let memory = Handle::make(api().ReleaseMemoryInfo, |out| {
            let (kind, of) = (sys::OrtAllocatorType::OrtDeviceAllocator, sys::OrtMemType::OrtMemTypeDefault);
            // SAFETY: the object is stored where there is room for it.
            #[allow(unsafe_code)]
            unsafe {
                (api().CreateCpuMemoryInfo)(kind, of, out)
            }
        })?;
        let options = Arc::new(RunOptions::new()?);
        let (inputs, outputs) = (named(&signature.inputs)?, named(&signature.outputs)?);
        Ok(SessionEngine { session, options, memory, inputs, outputs })
    }

    fn feed<'a>(&self, tensors: &'a [Tensor]) -> Result<Feed<'a>> {
        let mut feed = Feed { names: List::new(), values: List::new() };
        for (index, tensor) in tensors.iter().enumerate() {
            feed.names.push(find(&self.inputs, tensor.name(), index)?.name.as_ptr());
            feed.values.push(Input::of(tensor, &self.memory)?);
        }
        Ok(feed)
    }

    fn wanted(&self, names: &[ByteString]) -> Result<List<&Named>> {
        if names.is_empty() {
            return Ok(self.outputs.iter().collect());
        }
        names.iter().enumerate().map(|(index, name)| find(&self.outputs, name, index)).collect()
    }

    fn execute(
        &self,
        feed: &Feed<'_>,
        wanted: &[&Named],
        interest: &Interest,
    ) -> Result<List<Handle<sys::OrtValue>>, Fault> {
        let values: List<*const sys::OrtValue> = feed.values.iter().map(Input::as_ptr).collect();
        let names: List<*const c_char> = wanted.iter().map(|named| named.name.as_ptr()).collect();
        let mut given: List<*mut sys::OrtValue> = smallvec![ptr::null_mut(); wanted.len()];
        self.options.reset()?;
        let options = self.options.clone();
        let status = interest.while_waited_for(
            move || options.terminate(),
            // SAFETY: session, options, names and values live until the run is over, and each list is as long as is
            // said. No other run uses the session or the options: an engine runs by `&mut self`.
            #[allow(unsafe_code)]
            || unsafe {
                let (session, options) = (self.session.as_ptr(), self.options.as_ptr());
                let (inputs, outputs) = (feed.names.len(), names.len());
                let (input_names, output_names) = (feed.names.as_ptr(), names.as_ptr());
                let (values, given) = (values.as_ptr(), given.as_mut_ptr());
                (api().Run)(session, options, input_names, values, inputs, output_names, outputs, given)
            },
        );
        // SAFETY: what a run stored is ours; it is owned before anything can fail.
        #[allow(unsafe_code)]
        let given: List<_> = given.into_iter().map(|value| unsafe { Handle::own(api().ReleaseValue, value) }).collect();
        check(status)?;
        given.into_iter().collect()
    }
}

fn named(specs: &[TensorSpec]) -> Result<Vec<Named>, Fault> {
    let named = |spec: &TensorSpec| {
        let name = CString::new(spec.name.as_bytes().to_vec()).map_err(|_| Fault::new("a name that holds a NUL"))?;
        Ok(Named { spec: spec.clone(), name })
    };
    specs.iter().map(named).collect()
}

/// Finds a name, looking first where it is in calls that keep to the model's order.
fn find<'a>(known: &'a [Named], name: &ByteString, index: usize) -> Result<&'a Named> {
    let is_it = |named: &&Named| named.spec.name == *name;
    let found = known.get(index).filter(is_it).or_else(|| known.iter().find(is_it));
    found.ok_or_else(|| Error::new(Kind::Engine, format!("{name:?} came to an engine that does not know it")))
}

fn abandoned() -> Error {
    Error::new(Kind::Cancelled, "nobody waits for the answer any more")
}

impl Engine for SessionEngine {
    fn run(&mut self, inputs: &[Tensor], outputs: &[ByteString], interest: &Interest) -> Result<Vec<Tensor>> {
        if interest.is_gone() {
            return Err(abandoned());
        }
        let (feed, wanted) = (self.feed(inputs)?, self.wanted(outputs)?);
        // A run that was stopped fails; so that this is not taken for the engine's failure, ask first who is left.
        let ended = |fault: Fault| if interest.is_gone() { abandoned() } else { fault.of_run() };
        let given = self.execute(&feed, &wanted, interest).map_err(ended)?;
        let outputs = wanted.iter().zip(given);
        outputs.map(|(named, value)| tensors::output(&named.spec, value, inputs, &self.session)).collect()
    }
}
