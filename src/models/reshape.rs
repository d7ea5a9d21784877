//! Tensors that callers see in another shape than the model has, with the same elements: `reshape` in a `config.pbtxt`.
//! Not a byte is touched.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytestring::ByteString;
use smallvec::SmallVec;
use tower::Service;

use super::served::Merging;
use crate::error::{Error, Kind, Result};
use crate::infer::{Infer, InferRequest, InferResponse};
use crate::tensor::{BatchAxis, Dim, Shape, Signature, Tensor, TensorSpec};

/// One tensor in its two shapes: where one has a free dimension, so has the other, and between two of them both have
/// as many elements.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reshape {
    /// As callers see it.
    shown: TensorSpec,
    /// As the model has it.
    own: TensorSpec,
}

/// What of a model's inputs and outputs is reshaped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reshapes {
    inputs: Vec<Reshape>,
    outputs: Vec<Reshape>,
}

/// Why two shapes, with -1 for any size, do not have the same elements whatever the sizes are: the first -1 of one is
/// the first of the other, and so on, and what lies between two of them is as much in both.
pub(super) fn disagreement(shown: &[i64], own: &[i64]) -> Option<String> {
    let runs = |dims: &[i64]| -> Result<Vec<usize>> {
        Shape::new(&dims.iter().map(|dim| (*dim).max(1)).collect::<Vec<i64>>())?;
        dims.split(|dim| *dim == -1).map(|run| Ok(Shape::new(run)?.elements())).collect()
    };
    match (runs(shown), runs(own)) {
        (Ok(shown), Ok(own)) if shown == own => None,
        (Ok(_), Ok(_)) => Some("they differ in -1, or in the elements before, between or behind them".into()),
        (Err(error), _) | (_, Err(error)) => Some(error.to_string()),
    }
}

impl Reshapes {
    /// Adds an input of the model with what callers and the model have of it, -1 for any size. The two do not disagree,
    /// and the model's own fits `spec`.
    pub(super) fn input(&mut self, spec: &TensorSpec, shown: &[i64], own: &[i64]) {
        self.inputs.push(Reshape::new(spec, shown, own));
    }

    /// The same for an output.
    pub(super) fn output(&mut self, spec: &TensorSpec, shown: &[i64], own: &[i64]) {
        self.outputs.push(Reshape::new(spec, shown, own));
    }

    /// The model's signature as callers see it.
    pub fn shown(&self, signature: &Signature) -> Signature {
        let shown = |reshapes: &[Reshape], specs: &[TensorSpec]| {
            let shown = |spec: &TensorSpec| of(reshapes, &spec.name).map_or(spec, |reshape| &reshape.shown).clone();
            specs.iter().map(shown).collect()
        };
        Signature { inputs: shown(&self.inputs, &signature.inputs), outputs: shown(&self.outputs, &signature.outputs) }
    }

    /// How calls are merged as callers can tell: not at all where a tensor has its batch axis elsewhere for them.
    pub fn shown_merging(&self, merging: Merging, signature: &Signature) -> Merging {
        match &merging.axis {
            Some(axis) if !self.keep(axis, signature) => Merging { axis: None, max_batch: 1 },
            _ => merging,
        }
    }

    fn keep(&self, axis: &BatchAxis, signature: &Signature) -> bool {
        let kept = |reshapes: &[Reshape], specs: &[TensorSpec], places: &[usize]| {
            let kept = |(spec, place): (&TensorSpec, &usize)| {
                of(reshapes, &spec.name).is_none_or(|reshape| reshape.keeps(*place))
            };
            specs.iter().zip(places).all(kept)
        };
        kept(&self.inputs, &signature.inputs, axis.inputs()) && kept(&self.outputs, &signature.outputs, axis.outputs())
    }

    /// Inputs from the shapes of callers to those of the model. Whether the model has each of them is not looked at.
    ///
    /// # Errors
    /// `Invalid`, naming the input, the shape that callers are shown and that of the input.
    pub(super) fn take(&self, inputs: &mut [Tensor]) -> Result<()> {
        for input in inputs {
            let Some(Reshape { shown, own }) = of(&self.inputs, input.name()) else { continue };
            reshape(input, shown, own).map_err(|error| error.within(format_args!("input {:?}", shown.name)))?;
        }
        Ok(())
    }

    /// Outputs from the shapes of the model to those of callers. One in another shape than was declared is the doing of
    /// whoever declared it.
    fn give(&self, outputs: &mut [Tensor]) -> Result<()> {
        for output in outputs {
            let Some(Reshape { shown, own }) = of(&self.outputs, output.name()) else { continue };
            reshape(output, own, shown).map_err(|error| {
                Error::new(Kind::Engine, format!("output {:?} to be reshaped: {}", own.name, error.message()))
            })?;
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.outputs.is_empty()
    }
}

impl Reshape {
    fn new(spec: &TensorSpec, shown: &[i64], own: &[i64]) -> Reshape {
        let dim = |(size, dim): (&i64, &Dim)| if *size == -1 { dim.clone() } else { Dim::Fixed(*size) };
        let own: Vec<Dim> = own.iter().zip(&spec.dims).map(dim).collect();
        let mut free = own.iter().filter(|dim| matches!(dim, Dim::Free(_)));
        let dim = |size: &i64| match size {
            -1 => free.next().cloned().unwrap_or(Dim::Free(None)),
            size => Dim::Fixed(*size),
        };
        let shown = shown.iter().map(dim).collect();
        Reshape { shown: TensorSpec { dims: shown, ..spec.clone() }, own: TensorSpec { dims: own, ..spec.clone() } }
    }

    /// Whether the dimension of the model at that place is at the same one for callers.
    fn keeps(&self, place: usize) -> bool {
        let free = |spec: &TensorSpec| match spec.dims.get(place)? {
            Dim::Free(_) => Some(spec.dims[..place].iter().filter(|dim| matches!(dim, Dim::Free(_))).count()),
            Dim::Fixed(_) => None,
        };
        free(&self.own).is_some_and(|before| free(&self.shown) == Some(before))
    }
}

fn of<'a>(reshapes: &'a [Reshape], name: &ByteString) -> Option<&'a Reshape> {
    reshapes.iter().find(|reshape| reshape.own.name == *name)
}

/// From one shape to the other, where the tensor has the one.
fn reshape(tensor: &mut Tensor, from: &TensorSpec, to: &TensorSpec) -> Result<()> {
    from.check(tensor)?;
    let sizes = from.dims.iter().zip(tensor.shape().iter());
    let mut free = sizes.filter(|(dim, _)| matches!(dim, Dim::Free(_))).map(|(_, size)| *size);
    let dims = to.dims.iter().map(|dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Free(_) => free.next().unwrap_or(1),
    });
    let dims: SmallVec<[i64; 8]> = dims.collect();
    tensor.reshape(Shape::new(&dims)?)
}

/// Takes calls in the shapes that callers are shown and answers in such, in front of what has the model's own.
#[derive(Debug, Clone)]
pub struct Reshaped<S> {
    inner: S,
    /// `None` where there is nothing to do.
    reshapes: Option<Arc<Reshapes>>,
}

impl<S> Reshaped<S> {
    /// The shapes of callers in front of `inner`.
    pub fn new(reshapes: Reshapes, inner: S) -> Self {
        Reshaped { inner, reshapes: (!reshapes.is_empty()).then(|| Arc::new(reshapes)) }
    }
}

impl<S: Infer> Service<InferRequest> for Reshaped<S> {
    type Response = InferResponse;
    type Error = Error;
    type Future = Reshaping<S::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: InferRequest) -> Self::Future {
        if let Some(reshapes) = &self.reshapes {
            // The message has the shapes of callers still.
            request.received = None;
            if let Err(error) = reshapes.take(&mut request.inputs) {
                return Reshaping::Refused { error: Some(error) };
            }
        }
        Reshaping::Going { answer: self.inner.call(request), reshapes: self.reshapes.clone() }
    }
}

pin_project_lite::pin_project! {
    /// The future of one call whose tensors may be reshaped.
    #[project = ReshapingProjected]
    pub enum Reshaping<F> {
        /// The call fits.
        Going { #[pin] answer: F, reshapes: Option<Arc<Reshapes>> },
        /// It does not.
        Refused { error: Option<Error> },
    }
}

impl<F: Future<Output = Result<InferResponse>>> Future for Reshaping<F> {
    type Output = Result<InferResponse>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ReshapingProjected::Going { answer, reshapes } => {
                let mut response = ready!(answer.poll(cx))?;
                if let Some(reshapes) = reshapes {
                    // The message has the model's own shapes still.
                    response.received = None;
                    reshapes.give(&mut response.outputs)?;
                }
                Poll::Ready(Ok(response))
            }
            ReshapingProjected::Refused { error } => {
                Poll::Ready(Err(error.take().expect("a future is not polled after its end")))
            }
        }
    }
}

#[cfg(test)]
mod tests;
