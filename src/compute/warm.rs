//! The warm-up: each engine runs once with made-up input before its model may be called ready.

use super::Loaded;
use crate::error::{Error, Kind, Result};
use crate::infer::Interest;
use crate::tensor::{Signature, Tensor, aligned, strings};

/// Runs each engine with each of `samples`, calls that fit its signature. Where there are none, once with zeros and
/// empty strings, free dimensions being 1.
///
/// # Errors
/// `Unloadable`, with the engine's own words.
pub fn warm(loaded: &mut Loaded, samples: &[Vec<Tensor>]) -> Result<()> {
    let failed = |error: Error| Error::new(Kind::Unloadable, format!("the warm-up run failed: {error}"));
    let made_up = samples.is_empty().then(|| made_up(&loaded.signature)).transpose().map_err(failed)?;
    let interest = Interest::of(1);
    for engine in &mut loaded.engines {
        for inputs in samples.iter().chain(&made_up) {
            engine.run(inputs, &[], &interest).map_err(failed)?;
        }
    }
    Ok(())
}

/// Input that fits the signature.
fn made_up(signature: &Signature) -> Result<Vec<Tensor>> {
    let required = signature.inputs.iter().filter(|spec| !spec.optional);
    required
        .map(|spec| {
            let shape = spec.shape_with(1)?;
            // The length before an empty string is four zeros, so that zeros are right for every type.
            let size = spec.dtype.size().unwrap_or(strings::PREFIX);
            let length = shape.elements() * size;
            let mut data = aligned::buffer(length, 0);
            data.resize(length, 0);
            Tensor::new(spec.name.clone(), spec.dtype, shape, data.freeze().into())
        })
        .collect()
}
