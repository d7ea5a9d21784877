//! What a runner runs: the blocking seam over ONNX Runtime, and over the scripted engines of tests.

use std::sync::Arc;

use bytestring::ByteString;

use crate::error::Result;
use crate::infer::Interest;
use crate::observe::Arena;
use crate::tensor::{Signature, Tensor};

/// A loaded model that runs one batch at a time on the thread that owns it.
pub trait Engine: Send + 'static {
    /// Runs one batch and waits for it.
    ///
    /// The inputs fit the engine's signature; the data of each lies in one piece, at an address that is a multiple of
    /// its element size. `outputs` are names of the signature, each once, in the order wanted; none means all. An
    /// engine that can stop early does so once `interest` is gone; its error is then seen by nobody.
    ///
    /// # Errors
    /// `Invalid` where the engine says that the inputs are to blame, else `Engine`.
    fn run(&mut self, inputs: &[Tensor], outputs: &[ByteString], interest: &Interest) -> Result<Vec<Tensor>>;
}

/// An engine with what is known of it once it is loaded.
pub struct Loaded {
    /// What it takes and gives.
    pub signature: Signature,
    /// Where it runs, such as `cpu` or `cuda:0`.
    pub device: ByteString,
    /// One engine for each instance.
    pub engines: Vec<Box<dyn Engine>>,
    /// The memory that they keep, as far as they say.
    pub arenas: Vec<Arc<dyn Arena>>,
}
