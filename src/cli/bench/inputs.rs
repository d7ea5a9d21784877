//! Inputs: those that were given, and made-up ones for the rest, of the types and shapes in the model's metadata. The
//! same seed makes the same values.

use std::str::FromStr;

use fastrand::Rng;

use crate::cli::failure::Failure;
use crate::cli::message::number::Number;
use crate::cli::signature::names;
use crate::error::Error;
use crate::tensor::{DType, Dim, Shape, Signature, Tensor, TensorSpec, strings};

/// The most elements of a made-up input: more than any message holds.
const MOST_ELEMENTS: usize = i32::MAX as usize;

/// The size of free dimensions of one input: of one of them, or of all but the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimSize {
    input: String,
    axis: Option<usize>,
    size: i64,
}

impl FromStr for DimSize {
    type Err = &'static str;

    /// `NAME=SIZE` or `NAME:AXIS=SIZE`, axes from 0.
    fn from_str(text: &str) -> Result<DimSize, &'static str> {
        const WANTED: &str = "write NAME=SIZE, or NAME:AXIS=SIZE with axes from 0";
        let (place, size) = text.rsplit_once('=').ok_or(WANTED)?;
        let size = size.parse().ok().filter(|size| *size >= 0).ok_or(WANTED)?;
        let (input, axis) = match place.rsplit_once(':') {
            Some((input, axis)) => (input, Some(axis.parse().map_err(|_| WANTED)?)),
            None => (place, None),
        };
        Ok(DimSize { input: input.to_owned(), axis, size })
    }
}

/// What is said of the sizes of made-up inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The first dimension where it is free; that of the given inputs, or 1, where this is left out.
    pub rows: Option<i64>,
    /// Other free dimensions.
    pub dims: Vec<DimSize>,
}

/// The given tensors, and made-up ones for inputs that were not given.
///
/// # Errors
/// A wrong use where a size is for nothing, or one is missing.
pub fn complete(given: Vec<Tensor>, signature: &Signature, sizes: &Sizes, seed: u64) -> Result<Vec<Tensor>, Failure> {
    let missing = |spec: &&TensorSpec| given.iter().all(|tensor| *tensor.name() != spec.name);
    let missing: Vec<&TensorSpec> = signature.inputs.iter().filter(missing).collect();
    check(sizes, signature, &missing)?;
    let rows = sizes.rows.or_else(|| rows(&given, signature)).unwrap_or(1);
    let mut random = Rng::with_seed(seed);
    let made =
        missing.iter().map(|spec| made_up(spec, rows, &sizes.dims, &mut random)).collect::<Result<Vec<_>, _>>()?;
    Ok([given, made].concat())
}

/// The rows of the first given input that may have any number.
fn rows(given: &[Tensor], signature: &Signature) -> Option<i64> {
    given.iter().find_map(|tensor| {
        let spec = signature.inputs.iter().find(|spec| spec.name == *tensor.name())?;
        is_free(spec, 0).then(|| tensor.shape().first().copied())?
    })
}

fn is_free(spec: &TensorSpec, axis: usize) -> bool {
    matches!(spec.dims.get(axis), Some(Dim::Free(_)))
}

/// Every size is for something.
fn check(sizes: &Sizes, signature: &Signature, missing: &[&TensorSpec]) -> Result<(), Failure> {
    if let Some(rows) = sizes.rows
        && !missing.iter().any(|spec| is_free(spec, 0))
    {
        let why = "no input that is made up has a free first dimension";
        return Err(Failure::wrong_use(format_args!("--rows {rows}: {why}")));
    }
    for DimSize { input, axis, size } in &sizes.dims {
        let wrong = |why: String| Failure::wrong_use(format_args!("--dim for {input:?}: {why}"));
        let Some(spec) = missing.iter().find(|spec| spec.name == **input) else {
            let known = signature.inputs.iter().any(|spec| spec.name == **input);
            let takes = format!("the model takes {}", names(&signature.inputs));
            return Err(wrong(if known { "its value is given by --input".into() } else { takes }));
        };
        let is_for_something = match axis {
            Some(axis) => is_free(spec, *axis),
            None => (1..spec.dims.len()).any(|axis| is_free(spec, axis)),
        };
        if !is_for_something {
            return Err(wrong(format!("its shape {spec} leaves nothing free that could be {size}")));
        }
    }
    Ok(())
}

fn made_up(spec: &TensorSpec, rows: i64, sizes: &[DimSize], random: &mut Rng) -> Result<Tensor, Failure> {
    let dims = spec.dims.iter().enumerate();
    let dims = dims.map(|(axis, dim)| size(spec, axis, dim, rows, sizes)).collect::<Result<Vec<_>, _>>()?;
    let blamed = |error: Error| Failure::wrong_use(error.within(format_args!("input {:?}", spec.name)));
    let shape = Shape::new(&dims).map_err(blamed)?;
    if shape.elements() > MOST_ELEMENTS {
        return Err(blamed(Error::invalid(format!("{} elements are more than a message holds", shape.elements()))));
    }
    let mut raw = Vec::with_capacity(shape.elements() * spec.dtype.size().unwrap_or(8));
    (0..shape.elements()).try_for_each(|_| element(spec.dtype, random, &mut raw)).map_err(blamed)?;
    Tensor::new(spec.name.clone(), spec.dtype, shape, raw.into()).map_err(blamed)
}

fn size(spec: &TensorSpec, axis: usize, dim: &Dim, rows: i64, sizes: &[DimSize]) -> Result<i64, Failure> {
    let own = || sizes.iter().filter(|size| spec.name == *size.input);
    let said =
        own().find(|size| size.axis == Some(axis)).or_else(|| own().find(|size| size.axis.is_none() && axis > 0));
    match (dim, said) {
        (Dim::Fixed(size), _) => Ok(*size),
        (Dim::Free(_), Some(said)) => Ok(said.size),
        (Dim::Free(_), None) if axis == 0 => Ok(rows),
        (Dim::Free(_), None) => {
            let name = &spec.name;
            let what = format!("input {name:?} has the shape {spec} with dimension {axis} free");
            Err(Failure::wrong_use(format_args!("{what}: say its size by --dim {name}=SIZE, or give the input")))
        }
    }
}

/// Floats from 0 to 1, integers that are 0 or 1 and so are valid indices of most things, short words.
fn element(dtype: DType, random: &mut Rng, raw: &mut Vec<u8>) -> Result<(), Error> {
    match dtype {
        DType::Bytes => {
            let word: Vec<u8> = (0..random.usize(3..=8)).map(|_| random.lowercase() as u8).collect();
            strings::push(raw, &word)
        }
        DType::Fp16 | DType::Bf16 | DType::Fp32 | DType::Fp64 => Number::Double(random.f64()).write(dtype, raw),
        _ => Number::Int(random.bool().into()).write(dtype, raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: i64 = -1;

    fn spec(name: &'static str, dtype: DType, dims: &[i64]) -> TensorSpec {
        let dim = |size: &i64| if *size < 0 { Dim::Free(None) } else { Dim::Fixed(*size) };
        TensorSpec { name: name.into(), dtype, dims: dims.iter().map(dim).collect(), optional: true }
    }

    fn made(inputs: &[TensorSpec], rows: Option<i64>, dims: &[&str]) -> Result<Vec<Tensor>, String> {
        let signature = Signature { inputs: inputs.to_vec(), outputs: vec![] };
        let sizes = Sizes { rows, dims: dims.iter().map(|dim| dim.parse().unwrap()).collect() };
        complete(vec![], &signature, &sizes, 1).map_err(|failure| {
            assert_eq!(failure.code(), 2);
            failure.to_string()
        })
    }

    fn shapes(tensors: &[Tensor]) -> Vec<Vec<i64>> {
        tensors.iter().map(|tensor| tensor.shape().to_vec()).collect()
    }

    #[test]
    fn every_type_is_made_up_and_the_same_for_the_same_seed() {
        let inputs = DType::ALL.map(|dtype| spec(dtype.name(), dtype, &[FREE, 3]));
        let one = made(&inputs, Some(2), &[]).unwrap();
        let other = made(&inputs, Some(2), &[]).unwrap();
        for (one, other) in one.iter().zip(&other) {
            assert_eq!((&one.shape()[..], one.data().to_bytes()), (&[2, 3][..], other.data().to_bytes()));
        }
        let floats = one.iter().find(|tensor| tensor.dtype() == DType::Fp32).unwrap().data().to_bytes();
        let floats: Vec<Number> = floats.chunks(4).map(|bytes| Number::read(DType::Fp32, bytes)).collect();
        assert!(floats.iter().all(|number| matches!(number, Number::Single(number) if (0.0..=1.0).contains(number))));
    }

    #[test]
    fn free_dimensions_beyond_the_first_are_asked_for() {
        let ids = [spec("ids", DType::Int64, &[FREE, FREE])];
        let asked = "input \"ids\" has the shape [-1,-1] with dimension 1 free: say its size by --dim ids=SIZE, or give \
                     the input";
        assert_eq!(made(&ids, None, &[]), Err(asked.into()));
        assert_eq!(shapes(&made(&ids, None, &["ids=16"]).unwrap()), [[1, 16]]);
        assert_eq!(shapes(&made(&ids, Some(4), &["ids:1=16"]).unwrap()), [[4, 16]]);
        assert_eq!(shapes(&made(&ids, None, &["ids:0=2", "ids=3"]).unwrap()), [[2, 3]]);
    }

    #[test]
    fn a_size_for_nothing_is_refused() {
        let fixed = [spec("x", DType::Fp32, &[2, 3])];
        let nothing = "--dim for \"x\": its shape [2,3] leaves nothing free that could be 4";
        assert_eq!(made(&fixed, None, &["x=4"]), Err(nothing.into()));
        assert_eq!(made(&fixed, None, &["y=4"]), Err("--dim for \"y\": the model takes x".into()));
        assert!(made(&fixed, Some(2), &[]).unwrap_err().starts_with("--rows 2: no input that is made up"));
        for text in ["x", "x=", "x=-1", "x:a=1"] {
            assert!(text.parse::<DimSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_given_stays_and_says_how_many_rows_the_rest_has() {
        let inputs = vec![spec("a", DType::Int8, &[FREE]), spec("b", DType::Int8, &[FREE, 2])];
        let signature = Signature { inputs, outputs: vec![] };
        let given = Tensor::new("b".into(), DType::Int8, Shape::new(&[3, 2]).unwrap(), vec![9; 6].into()).unwrap();
        let all = complete(vec![given], &signature, &Sizes::default(), 1).unwrap();
        assert_eq!(shapes(&all), [vec![3, 2], vec![3]]);
        assert_eq!(all[0].data().to_bytes().as_ref(), [9; 6]);
    }
}
