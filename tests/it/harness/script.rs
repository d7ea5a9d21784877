//! Engines that do what a test says, and write down what they saw.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use infergate::compute::Engine;
use infergate::error::{Error, Result};
use infergate::infer::Interest;
use infergate::tensor::{Signature, Tensor};

/// What an engine does with a call.
pub type Act = Arc<dyn Fn(&Run<'_>) -> Result<Vec<Tensor>> + Send + Sync>;

/// One run, as a script sees it.
pub struct Run<'a> {
    pub inputs: &'a [Tensor],
    pub outputs: &'a [ByteString],
    pub interest: &'a Interest,
    /// Counts the loads of the model from 1.
    pub load: u32,
    signature: &'a Signature,
}

impl Run<'_> {
    /// Each wanted output is the input that stands at its place in the signature.
    pub fn identity(&self) -> Result<Vec<Tensor>> {
        let all: Vec<ByteString>;
        let wanted = match self.outputs {
            [] => {
                all = self.signature.outputs.iter().map(|spec| spec.name.clone()).collect();
                &all
            }
            wanted => wanted,
        };
        wanted.iter().map(|output| self.renamed(output)).collect()
    }

    fn renamed(&self, output: &ByteString) -> Result<Tensor> {
        let place = self.signature.outputs.iter().position(|spec| spec.name == *output);
        let name = &self.signature.inputs[place.expect("wanted outputs were checked")].name;
        let input = self.inputs.iter().find(|tensor| tensor.name() == name);
        let input = input.ok_or_else(|| Error::invalid(format!("input {name:?} is needed for output {output:?}")))?;
        Tensor::new(output.clone(), input.dtype(), input.shape().clone(), input.data().clone())
    }

    /// The first value of the first input, a number of 32 bits; tests tell calls by it.
    pub fn first(&self) -> String {
        let data = self.inputs[0].data().to_bytes();
        data.first_chunk().map_or_else(String::new, |bytes| f32::from_le_bytes(*bytes).to_string())
    }
}

/// What an engine saw of one input.
#[derive(Debug, Clone)]
pub struct SeenInput {
    pub tensor: Tensor,
    /// Where its data lies; 0 where there is none.
    pub address: usize,
    /// Whether its bytes are still those of the message: somebody else holds them too.
    pub shared: bool,
}

/// What an engine saw of one run.
#[derive(Debug, Clone)]
pub struct Seen {
    pub inputs: Vec<SeenInput>,
    pub outputs: Vec<ByteString>,
}

/// What the engines of a model saw of calls, and what was made up for them before.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Both>>);

#[derive(Debug, Default)]
struct Both {
    calls: Vec<Seen>,
    made_up: Vec<Seen>,
}

impl Log {
    /// What was seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().calls.clone()
    }

    /// How many runs were seen so far.
    pub fn runs(&self) -> usize {
        self.lock().calls.len()
    }

    fn lock(&self) -> MutexGuard<'_, Both> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen of warm-ups and trials.
    pub fn made_up(&self) -> Vec<Seen> {
        self.lock().made_up.clone()
    }

    fn add(&self, run: &Run<'_>, is_call: bool) {
        let seen = |tensor: &Tensor| {
            let part = tensor.data().parts().first();
            let address = part.map_or(0, |part| part.as_ptr() as usize);
            // Asked before the tensor is cloned, which would share it.
            let shared = part.is_some_and(|part| !part.is_unique());
            SeenInput { tensor: tensor.clone(), address, shared }
        };
        let inputs = run.inputs.iter().map(seen).collect();
        let seen = Seen { inputs, outputs: run.outputs.to_vec() };
        let mut both = self.lock();
        if is_call { both.calls.push(seen) } else { both.made_up.push(seen) }
    }
}

/// An engine with a script.
pub struct Scripted {
    pub act: Act,
    pub log: Log,
    pub signature: Arc<Signature>,
    pub load: u32,
}

impl Engine for Scripted {
    fn run(&mut self, inputs: &[Tensor], outputs: &[ByteString], interest: &Interest) -> Result<Vec<Tensor>> {
        // Warm-up and trial run where the model is loaded, calls on a thread of the instance.
        let is_call = std::thread::current().name().is_some_and(|name| name.starts_with("run-"));
        let run = Run { inputs, outputs, interest, load: self.load, signature: &self.signature };
        self.log.add(&run, is_call);
        if is_call { (self.act)(&run) } else { Ok(Vec::new()) }
    }
}
