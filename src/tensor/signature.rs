//! What a model takes and gives: the contract that a call is checked against before it may run or be merged.

use std::fmt;

use bytestring::ByteString;

use super::{DType, Shape, Tensor};
use crate::error::{Error, Result};

/// One dimension of a signature.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Exactly this many.
    Fixed(i64),
    /// Any number. Dimensions with the same symbol are meant to be equal in one call.
    Free(Option<ByteString>),
}

impl Dim {
    /// The protocols' form: the size, or -1 for a free dimension.
    pub fn wire(&self) -> i64 {
        match self {
            Dim::Fixed(size) => *size,
            Dim::Free(_) => -1,
        }
    }

    /// Its symbol, where it is free and has one.
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Dim::Free(Some(symbol)) => Some(symbol),
            _ => None,
        }
    }

    fn admits(&self, size: i64) -> bool {
        match self {
            Dim::Fixed(fixed) => *fixed == size,
            Dim::Free(_) => true,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::Free(Some(symbol)) => f.write_str(symbol),
            Dim::Free(None) => f.write_str("-1"),
        }
    }
}

/// One input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorSpec {
    /// Its name in the model.
    pub name: ByteString,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions; empty for a scalar.
    pub dims: Vec<Dim>,
    /// Whether a call may leave it out (an input with a default).
    pub optional: bool,
}

impl TensorSpec {
    /// Checks a tensor's type, rank and fixed dimensions.
    ///
    /// # Errors
    /// `Invalid`, with both values.
    pub fn check(&self, tensor: &Tensor) -> Result<()> {
        if tensor.dtype() != self.dtype {
            return Err(Error::invalid(format!("expected {}, got {}", self.dtype, tensor.dtype())));
        }
        let shape = tensor.shape();
        if shape.len() != self.dims.len() {
            let (expected, got) = (self.dims.len(), shape.len());
            return Err(Error::invalid(format!("expected rank {expected} {self}, got rank {got} {shape}")));
        }
        if self.dims.iter().zip(shape.iter()).any(|(dim, size)| !dim.admits(*size)) {
            return Err(Error::invalid(format!("expected shape {self}, got {shape}")));
        }
        Ok(())
    }

    /// A shape that fits, with every free dimension set to `free`: for made-up input.
    ///
    /// # Errors
    /// `Invalid` where the fixed dimensions alone overflow.
    pub fn shape_with(&self, free: i64) -> Result<Shape> {
        let dims: Vec<i64> =
            self.dims.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { free }).collect();
        Shape::new(&dims)
    }
}

impl fmt::Display for TensorSpec {
    /// The dimensions only, such as `[batch,1,8,8]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, dim) in self.dims.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            dim.fmt(f)?;
        }
        f.write_str("]")
    }
}

/// The inputs and outputs of one model version, in the model's order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Signature {
    /// What it takes.
    pub inputs: Vec<TensorSpec>,
    /// What it gives.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// Checks a call's inputs: each known, given once, of the right type, rank and fixed dimensions, and none missing.
    ///
    /// # Errors
    /// `Invalid`, naming the tensor and both values.
    pub fn check_inputs(&self, inputs: &[Tensor]) -> Result<()> {
        for (index, tensor) in inputs.iter().enumerate() {
            let name = tensor.name();
            let Some(spec) = self.inputs.iter().find(|spec| spec.name == *name) else {
                return Err(Error::invalid(format!("unknown input {name:?}, the model takes {}", names(&self.inputs))));
            };
            if inputs[..index].iter().any(|earlier| earlier.name() == name) {
                return Err(Error::invalid(format!("input {name:?} is given twice")));
            }
            spec.check(tensor).map_err(|error| error.within(format_args!("input {name:?}")))?;
        }
        self.check_rows(inputs)?;
        // Names are known and differ by now, so that only a call with fewer inputs can miss one.
        if inputs.len() == self.inputs.len() {
            return Ok(());
        }
        match self.inputs.iter().find(|spec| !spec.optional && inputs.iter().all(|tensor| tensor.name() != &spec.name))
        {
            Some(missing) => Err(Error::invalid(format!("input {:?} is missing", missing.name))),
            None => Ok(()),
        }
    }

    /// Inputs whose first dimension has the same symbol have the same rows. Other dimensions are left to the engine:
    /// exporters reuse symbols where they mean nothing by it.
    fn check_rows(&self, inputs: &[Tensor]) -> Result<()> {
        let symbol = |tensor: &Tensor| {
            let spec = self.inputs.iter().find(|spec| spec.name == *tensor.name())?;
            match spec.dims.first()? {
                Dim::Free(symbol) => symbol.as_ref(),
                Dim::Fixed(_) => None,
            }
        };
        for (index, tensor) in inputs.iter().enumerate() {
            let Some(shared) = symbol(tensor) else { continue };
            let other = inputs[..index].iter().find(|earlier| symbol(earlier) == Some(shared));
            if let Some(other) = other.filter(|other| other.shape().first() != tensor.shape().first()) {
                return Err(Error::invalid(format!(
                    "{shared} is {} in input {:?} and {} in input {:?}",
                    other.shape()[0],
                    other.name(),
                    tensor.shape()[0],
                    tensor.name()
                )));
            }
        }
        Ok(())
    }

    /// Which input has that name; `likely` is looked at first.
    pub fn input_index(&self, name: &ByteString, likely: usize) -> Option<usize> {
        index_of(&self.inputs, name, likely)
    }

    /// Which output has that name; `likely` is looked at first.
    pub fn output_index(&self, name: &ByteString, likely: usize) -> Option<usize> {
        index_of(&self.outputs, name, likely)
    }

    /// Checks the names of wanted outputs: each known and asked for once.
    ///
    /// # Errors
    /// `Invalid`, naming the output.
    pub fn check_outputs<'a>(&self, wanted: impl Iterator<Item = &'a ByteString> + Clone) -> Result<()> {
        for (index, name) in wanted.clone().enumerate() {
            if !self.outputs.iter().any(|spec| spec.name == *name) {
                return Err(Error::invalid(format!(
                    "unknown output {name:?}, the model gives {}",
                    names(&self.outputs)
                )));
            }
            if wanted.clone().take(index).any(|earlier| earlier == name) {
                return Err(Error::invalid(format!("output {name:?} is asked for twice")));
            }
        }
        Ok(())
    }
}

fn index_of(specs: &[TensorSpec], name: &ByteString, likely: usize) -> Option<usize> {
    match specs.get(likely) {
        Some(spec) if spec.name == *name => Some(likely),
        _ => specs.iter().position(|spec| spec.name == *name),
    }
}

/// Names for a message, cut after a few.
fn names(specs: &[TensorSpec]) -> String {
    const SHOWN: usize = 8;
    let mut names: Vec<String> = specs.iter().take(SHOWN).map(|spec| format!("{:?}", spec.name)).collect();
    if specs.len() > SHOWN {
        names.push(format!("and {} more", specs.len() - SHOWN));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &'static str, dtype: DType, dims: Vec<Dim>) -> TensorSpec {
        TensorSpec { name: ByteString::from_static(name), dtype, dims, optional: false }
    }

    fn signature() -> Signature {
        let batch = Dim::Free(Some("batch".into()));
        Signature {
            inputs: vec![
                spec("image", DType::Fp32, vec![batch.clone(), Dim::Fixed(2)]),
                TensorSpec { optional: true, ..spec("bias", DType::Fp32, vec![]) },
            ],
            outputs: vec![spec("probs", DType::Fp32, vec![batch, Dim::Fixed(10)])],
        }
    }

    fn input(name: &'static str, dtype: DType, dims: &[i64]) -> Tensor {
        let shape = Shape::new(dims).unwrap();
        let data = vec![0; shape.elements() * dtype.size().unwrap()];
        Tensor::new(ByteString::from_static(name), dtype, shape, data.into()).unwrap()
    }

    fn refusal(inputs: &[Tensor]) -> String {
        signature().check_inputs(inputs).unwrap_err().to_string()
    }

    #[test]
    fn a_call_that_fits_passes_with_and_without_optional_inputs() {
        let image = input("image", DType::Fp32, &[3, 2]);
        assert_eq!(signature().check_inputs(std::slice::from_ref(&image)), Ok(()));
        assert_eq!(signature().check_inputs(&[input("bias", DType::Fp32, &[]), image]), Ok(()));
    }

    #[test]
    fn each_mismatch_names_the_tensor_and_both_values() {
        let image = input("image", DType::Fp32, &[3, 2]);
        assert_eq!(refusal(&[]), "input \"image\" is missing");
        assert_eq!(
            refusal(&[input("imag", DType::Fp32, &[3, 2])]),
            "unknown input \"imag\", the model takes \"image\", \"bias\""
        );
        assert_eq!(refusal(&[image.clone(), image]), "input \"image\" is given twice");
        assert_eq!(refusal(&[input("image", DType::Int32, &[3, 2])]), "input \"image\": expected FP32, got INT32");
        assert_eq!(
            refusal(&[input("image", DType::Fp32, &[2])]),
            "input \"image\": expected rank 2 [batch,2], got rank 1 [2]"
        );
        assert_eq!(
            refusal(&[input("image", DType::Fp32, &[3, 4])]),
            "input \"image\": expected shape [batch,2], got [3,4]"
        );
    }

    #[test]
    fn inputs_that_share_their_rows_must_have_as_many() {
        let batch = Dim::Free(Some("batch".into()));
        let inputs = vec![spec("a", DType::Fp32, vec![batch.clone()]), spec("b", DType::Fp32, vec![batch])];
        let signature = Signature { inputs, outputs: vec![] };
        assert_eq!(signature.check_inputs(&[input("a", DType::Fp32, &[2]), input("b", DType::Fp32, &[2])]), Ok(()));
        let error =
            signature.check_inputs(&[input("a", DType::Fp32, &[2]), input("b", DType::Fp32, &[3])]).unwrap_err();
        assert_eq!(error.message(), "batch is 2 in input \"a\" and 3 in input \"b\"");
    }

    #[test]
    fn unknown_and_repeated_outputs_are_refused() {
        let wanted = |names: &[&'static str]| {
            let names: Vec<ByteString> = names.iter().map(|name| ByteString::from_static(name)).collect();
            signature().check_outputs(names.iter()).map_err(|error| error.to_string())
        };
        assert_eq!(wanted(&["probs"]), Ok(()));
        assert_eq!(wanted(&["prob"]), Err("unknown output \"prob\", the model gives \"probs\"".into()));
        assert_eq!(wanted(&["probs", "probs"]), Err("output \"probs\" is asked for twice".into()));
    }
}
