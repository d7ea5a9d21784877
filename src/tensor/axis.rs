//! The batch axis: the dimension along which calls of a model can be put together and cut apart again.

use bytestring::ByteString;

use super::{Dim, Signature, Tensor, TensorSpec};

/// Where each tensor of a model has its batch axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchAxis {
    symbol: Option<ByteString>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl BatchAxis {
    /// Finds the axis that all inputs and outputs share: the dimension whose symbol is `wanted`; without one the
    /// symbol that they share and that says "batch"; or the first dimension where it is free in each and nothing says
    /// that it means different things. One that may be the length of a sequence or of a vector, and no batch, counts
    /// only where batches are `asked_for`: rows that affect one another would be answered wrongly together.
    ///
    /// # Errors
    /// The tensor that forbids it, in a sentence.
    pub fn find(signature: &Signature, wanted: Option<&str>, asked_for: bool) -> Result<BatchAxis, String> {
        let first = signature.inputs.first().ok_or("the model has no inputs")?;
        if signature.outputs.is_empty() {
            return Err("the model has no outputs".into());
        }
        if let Some(symbol) = wanted {
            return BatchAxis::by_symbol(signature, symbol);
        }
        let batch = first.dims.iter().filter_map(given_name).find(|symbol| says_batch(symbol));
        if let Some(axis) = batch.and_then(|symbol| BatchAxis::by_symbol(signature, symbol).ok()) {
            return Ok(axis);
        }
        BatchAxis::at_the_front(signature, asked_for)
    }

    fn by_symbol(signature: &Signature, symbol: &str) -> Result<BatchAxis, String> {
        let position = |(kind, spec): (&str, &TensorSpec)| {
            let mut places = spec.dims.iter().enumerate().filter(|(_, dim)| dim.symbol() == Some(symbol));
            match (places.next(), places.next()) {
                (Some((place, _)), None) => Ok(place),
                (None, _) => Err(format!("{kind} {:?} has no dimension {symbol}: {spec}", spec.name)),
                _ => Err(format!("{kind} {:?} has the dimension {symbol} more than once: {spec}", spec.name)),
            }
        };
        let inputs = signature.inputs.iter().map(|spec| position(("input", spec))).collect::<Result<_, _>>()?;
        let outputs = signature.outputs.iter().map(|spec| position(("output", spec))).collect::<Result<_, _>>()?;
        Ok(BatchAxis { symbol: Some(symbol.to_owned().into()), inputs, outputs })
    }

    fn at_the_front(signature: &Signature, asked_for: bool) -> Result<BatchAxis, String> {
        let mut named: Option<(&ByteString, String)> = None;
        for (kind, spec) in tensors(signature) {
            let tensor = format!("{kind} {:?}", spec.name);
            let dim = match spec.dims.first() {
                None => return Err(format!("{tensor} is a scalar")),
                Some(Dim::Fixed(size)) => return Err(format!("{tensor} has the fixed first dimension {size}: {spec}")),
                Some(dim) => dim,
            };
            let Some(symbol) = given_name(dim) else { continue };
            if says_sequence(symbol) && !asked_for {
                return Err(format!("the first dimension of {tensor} is {symbol}, which may be no batch: {spec}"));
            }
            match &named {
                Some((other, of)) if *other != symbol => {
                    return Err(format!("the first dimension is {other} in {of} and {symbol} in {tensor}"));
                }
                Some(_) => {}
                None => named = Some((symbol, tensor)),
            }
        }
        let symbol = named.map(|(symbol, _)| symbol.clone());
        if symbol.is_none() && !asked_for && signature.inputs.iter().all(|spec| spec.dims.len() == 1) {
            let spec = &signature.inputs[0];
            return Err(format!("the only dimension of input {:?} has no name and may be no batch: {spec}", spec.name));
        }
        Ok(BatchAxis { symbol, inputs: vec![0; signature.inputs.len()], outputs: vec![0; signature.outputs.len()] })
    }

    /// Its symbol, where the model gives it one.
    pub fn symbol(&self) -> Option<&ByteString> {
        self.symbol.as_ref()
    }

    /// The dimension of each input, in the signature's order.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// The dimension of each output, in the signature's order.
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// Whether it is the first dimension of every tensor.
    pub fn is_first(&self) -> bool {
        self.inputs.iter().chain(&self.outputs).all(|place| *place == 0)
    }

    /// Rows of a call whose inputs were checked against `signature`; `None` where they differ between its inputs.
    pub fn rows(&self, signature: &Signature, inputs: &[Tensor]) -> Option<usize> {
        let mut rows = None;
        for (index, tensor) in inputs.iter().enumerate() {
            let place = self.inputs[signature.input_index(tensor.name(), index)?];
            let own = tensor.shape()[place] as usize;
            if *rows.get_or_insert(own) != own {
                return None;
            }
        }
        rows
    }
}

fn tensors(signature: &Signature) -> impl Iterator<Item = (&'static str, &TensorSpec)> {
    let inputs = signature.inputs.iter().map(|spec| ("input", spec));
    inputs.chain(signature.outputs.iter().map(|spec| ("output", spec)))
}

/// A symbol that somebody chose. Converters make up others, a new one for each dimension: `unk__7` (tf2onnx),
/// `x_dynamic_axes_1` and `Softmaxprobs_dim_0` (PyTorch), `?`.
fn given_name(dim: &Dim) -> Option<&ByteString> {
    let Dim::Free(Some(symbol)) = dim else { return None };
    let made_up = symbol.starts_with("unk_")
        || symbol.starts_with('?')
        || symbol.contains("_dynamic_axes_")
        || symbol.rsplit_once("_dim_").is_some_and(|(_, number)| number.parse::<u32>().is_ok());
    (!made_up && !symbol.is_empty()).then_some(symbol)
}

fn says_batch(symbol: &str) -> bool {
    symbol.to_ascii_lowercase().contains("batch")
}

/// Rows of a sequence affect one another: to run two of them as one would give wrong answers.
fn says_sequence(symbol: &str) -> bool {
    let symbol = symbol.to_ascii_lowercase();
    ["seq", "time", "len", "token", "step", "frame"].iter().any(|word| symbol.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Shape};

    fn spec(name: &'static str, dtype: DType, dims: &[&str]) -> TensorSpec {
        let dim = |text: &&str| match text.parse() {
            Ok(-1) => Dim::Free(None),
            Ok(size) => Dim::Fixed(size),
            Err(_) => Dim::Free(Some((*text).to_owned().into())),
        };
        TensorSpec { name: name.into(), dtype, dims: dims.iter().map(dim).collect(), optional: false }
    }

    fn signature(inputs: &[&[&str]], outputs: &[&[&str]]) -> Signature {
        let specs = |kind: [&'static str; 3], all: &[&[&str]]| {
            all.iter().zip(kind).map(|(dims, name)| spec(name, DType::Fp32, dims)).collect()
        };
        Signature { inputs: specs(["a", "b", "c"], inputs), outputs: specs(["x", "y", "z"], outputs) }
    }

    type Found = (Option<String>, Vec<usize>, Vec<usize>);

    fn found(inputs: &[&[&str]], outputs: &[&[&str]]) -> Result<Found, String> {
        let axis = BatchAxis::find(&signature(inputs, outputs), None, false)?;
        Ok((axis.symbol.map(|symbol| symbol.to_string()), axis.inputs, axis.outputs))
    }

    #[test]
    fn a_symbol_that_all_share_is_the_axis_wherever_it_stands() {
        let batch = || Some("batch".to_owned());
        assert_eq!(found(&[&["batch", "4"]], &[&["batch", "2"]]), Ok((batch(), vec![0], vec![0])));
        assert_eq!(
            found(&[&["time", "batch", "3"], &["2", "batch", "8"]], &[&["time", "batch", "3"], &["batch", "3"]]),
            Ok((batch(), vec![1, 1], vec![1, 0]))
        );
        assert_eq!(found(&[&["n", "len"]], &[&["n", "len", "9"]]), Ok((Some("n".into()), vec![0], vec![0])));
    }

    #[test]
    fn a_free_first_dimension_is_the_axis_where_nothing_speaks_against_it() {
        assert_eq!(found(&[&["-1", "4"]], &[&["-1"]]), Ok((None, vec![0], vec![0])));
        assert_eq!(found(&[&["unk__7", "4"]], &[&["unk__8"]]), Ok((None, vec![0], vec![0])));
        assert_eq!(
            found(&[&["N", "4"], &["x_dynamic_axes_1"]], &[&["Softmaxprobs_dim_0", "2"]]),
            Ok((Some("N".into()), vec![0, 0], vec![0]))
        );
    }

    #[test]
    fn a_model_without_an_axis_names_the_tensor_that_forbids_it() {
        for (inputs, outputs, told) in [
            (&[&["batch", "4"][..], &[]][..], &[&["batch"][..]][..], "input \"b\" is a scalar"),
            (&[&["batch", "4"]], &[&["1", "2"]], "output \"x\" has the fixed first dimension 1: [1,2]"),
            (
                &[&["batch", "4"]],
                &[&["found", "4"]],
                "the first dimension is batch in input \"a\" and found in output \"x\"",
            ),
            (
                &[&["seq_len", "4"]],
                &[&["seq_len", "4"]],
                "the first dimension of input \"a\" is seq_len, which may be no batch: [seq_len,4]",
            ),
            (&[&["-1"]], &[&["-1"]], "the only dimension of input \"a\" has no name and may be no batch: [-1]"),
            (&[], &[&["batch"]], "the model has no inputs"),
            (&[&["batch"]], &[], "the model has no outputs"),
        ] {
            assert_eq!(found(inputs, outputs).unwrap_err(), told);
        }
    }

    #[test]
    fn a_dimension_that_may_be_something_else_is_the_axis_where_batches_are_asked_for() {
        for dims in ["-1", "seq_len"] {
            let signature = signature(&[&[dims]], &[&[dims]]);
            assert!(BatchAxis::find(&signature, None, false).is_err());
            assert!(BatchAxis::find(&signature, None, true).is_ok());
        }
    }

    #[test]
    fn a_wanted_symbol_must_be_in_every_tensor_once() {
        let wanted =
            |symbol, signature: &Signature| BatchAxis::find(signature, Some(symbol), true).map(|axis| axis.inputs);
        let model = signature(&[&["seq", "4"], &["k", "seq"]], &[&["seq"]]);
        assert_eq!(wanted("seq", &model), Ok(vec![0, 1]));
        assert_eq!(wanted("k", &model), Err("input \"a\" has no dimension k: [seq,4]".into()));
        let twice = signature(&[&["n", "n"]], &[&["n"]]);
        assert_eq!(wanted("n", &twice), Err("input \"a\" has the dimension n more than once: [n,n]".into()));
    }

    #[test]
    fn rows_are_counted_along_the_axis_and_must_agree() {
        let signature = signature(&[&["time", "batch"], &["batch"]], &[&["batch"]]);
        let axis = BatchAxis::find(&signature, None, false).unwrap();
        let tensor = |name: &'static str, dims: &[i64]| {
            let shape = Shape::new(dims).unwrap();
            Tensor::new(name.into(), DType::Fp32, shape.clone(), vec![0; shape.elements() * 4].into()).unwrap()
        };
        assert_eq!(axis.rows(&signature, &[tensor("b", &[3]), tensor("a", &[7, 3])]), Some(3));
        assert_eq!(axis.rows(&signature, &[tensor("a", &[7, 3]), tensor("b", &[2])]), None);
    }
}
