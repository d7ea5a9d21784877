//! The trial of batching: whether two rows run together give what each gives alone. Names of dimensions only hint at
//! it, and a model that is batched although its rows affect one another answers wrongly without anybody noticing.

use half::{bf16, f16};
use smallvec::SmallVec;

use super::Engine;
use crate::error::Result;
use crate::infer::Interest;
use crate::tensor::{BatchAxis, DType, Signature, Tensor, TensorSpec, aligned, strings};

/// How far two results may be apart, as a part of the largest: engines add up in another order for other sizes, and
/// models that are quantized as they run round otherwise. Rows that affect one another differ by far more.
const TOLERANCE: f64 = 0.05;

/// Runs two made-up rows, each alone and both together, and compares shapes and numbers. `None` where they agree, or
/// where the model cannot be tried with what was made up; else the sentence that says which output does not.
pub fn refusal(engine: &mut dyn Engine, signature: &Signature, axis: &BatchAxis) -> Option<String> {
    let (one, other) = (row(signature, 1).ok()?, row(signature, 2).ok()?);
    let both: Vec<Tensor> =
        one.iter().zip(&other).zip(places(signature, axis)).map(together).collect::<Result<_>>().ok()?;
    let mut run = |inputs: &[Tensor]| engine.run(inputs, &[], &Interest::of(1)).ok();
    let (one, other, both) = (run(&one)?, run(&other)?, run(&both)?);
    let outputs = one.iter().zip(&other).zip(&both).zip(axis.outputs());
    outputs.into_iter().find_map(|(((one, other), both), dim)| {
        let name = both.name();
        let Ok(parts) = both.divided(*dim, &[1, 1]) else {
            return Some(format!("output {name:?} of two rows has the shape {}", both.shape()));
        };
        let same = is_near(&parts[0], one) && is_near(&parts[1], other);
        (!same).then(|| format!("output {name:?} of a row is another where it is run together with a second one"))
    })
}

/// The batch axis of each input that is made up.
fn places(signature: &Signature, axis: &BatchAxis) -> impl Iterator<Item = usize> {
    let inputs = signature.inputs.iter().zip(axis.inputs());
    inputs.filter(|(spec, _)| !spec.optional).map(|(_, place)| *place)
}

fn together(((one, other), dim): ((&Tensor, &Tensor), usize)) -> Result<Tensor> {
    Ok(Tensor::concatenated(SmallVec::from_vec(vec![one.clone(), other.clone()]), dim)?.laid_out())
}

/// One row of made-up input, every free dimension being 1. Another seed makes another row.
fn row(signature: &Signature, seed: u64) -> Result<Vec<Tensor>> {
    let mut random = fastrand::Rng::with_seed(seed);
    signature.inputs.iter().filter(|spec| !spec.optional).map(|spec| made_up(spec, &mut random)).collect()
}

/// Numbers of 0 to 1, whole ones where they are whole, so that they are good for indices; empty strings.
fn made_up(spec: &TensorSpec, random: &mut fastrand::Rng) -> Result<Tensor> {
    let shape = spec.shape_with(1)?;
    let mut data = aligned::buffer(shape.elements() * spec.dtype.size().unwrap_or(strings::PREFIX), 0);
    for _ in 0..shape.elements() {
        match spec.dtype {
            DType::Fp64 => data.extend_from_slice(&random.f64().to_le_bytes()),
            DType::Fp32 => data.extend_from_slice(&random.f32().to_le_bytes()),
            DType::Fp16 => data.extend_from_slice(&f16::from_f32(random.f32()).to_le_bytes()),
            DType::Bf16 => data.extend_from_slice(&bf16::from_f32(random.f32()).to_le_bytes()),
            DType::Bytes => data.extend_from_slice(&[0; strings::PREFIX]),
            whole => {
                data.extend_from_slice(&[random.u8(..2)]);
                data.resize(data.len() + whole.size().unwrap_or(1) - 1, 0);
            }
        }
    }
    Tensor::new(spec.name.clone(), spec.dtype, shape, data.freeze().into())
}

/// Whether shapes are equal and numbers are near. Other elements than floating-point ones may hang on a rounding, such
/// as the index of the best of two.
fn is_near(part: &Tensor, alone: &Tensor) -> bool {
    if part.shape() != alone.shape() {
        return false;
    }
    let (Some(part), Some(alone)) = (numbers(part), numbers(alone)) else { return true };
    let largest = alone.iter().filter(|number| number.is_finite()).fold(0f64, |most, number| most.max(number.abs()));
    part.iter().zip(&alone).all(|(one, other)| {
        let apart = (one - other).abs();
        apart <= TOLERANCE * largest + 1e-6 || one == other || (one.is_nan() && other.is_nan())
    })
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    let raw = tensor.data().to_bytes();
    let of = |size: usize, number: fn(&[u8]) -> f64| Some(raw.chunks_exact(size).map(number).collect());
    match tensor.dtype() {
        DType::Fp64 => of(8, |raw| f64::from_le_bytes(raw.try_into().unwrap_or_default())),
        DType::Fp32 => of(4, |raw| f32::from_le_bytes(raw.try_into().unwrap_or_default()).into()),
        DType::Fp16 => of(2, |raw| f16::from_le_bytes(raw.try_into().unwrap_or_default()).into()),
        DType::Bf16 => of(2, |raw| bf16::from_le_bytes(raw.try_into().unwrap_or_default()).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;

    use super::*;
    use crate::tensor::{Dim, Shape};

    /// Adds to each number the sum of so many of all.
    struct Adding(f32);

    impl Engine for Adding {
        fn run(&mut self, inputs: &[Tensor], _outputs: &[ByteString], _interest: &Interest) -> Result<Vec<Tensor>> {
            let numbers = numbers(&inputs[0]).expect("floats");
            let sum = numbers.iter().sum::<f64>() as f32;
            let bytes = numbers.iter().flat_map(|number| (*number as f32 + self.0 * sum).to_le_bytes()).collect();
            let shape = inputs[0].shape().clone();
            Ok(vec![Tensor::new("y".into(), DType::Fp32, shape, Vec::into(bytes))?])
        }
    }

    /// Gives as many rows as it likes.
    struct Counting;

    impl Engine for Counting {
        fn run(&mut self, _inputs: &[Tensor], _outputs: &[ByteString], _interest: &Interest) -> Result<Vec<Tensor>> {
            Ok(vec![Tensor::new("y".into(), DType::Fp32, Shape::new(&[0, 1]).unwrap(), Vec::new().into())?])
        }
    }

    fn tried(engine: &mut dyn Engine) -> Option<String> {
        let dims = vec![Dim::Free(Some("batch".into())), Dim::Free(None)];
        let spec = |name: &'static str| TensorSpec {
            name: ByteString::from_static(name),
            dtype: DType::Fp32,
            dims: dims.clone(),
            optional: false,
        };
        let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
        refusal(engine, &signature, &BatchAxis::find(&signature, None, false).unwrap())
    }

    #[test]
    fn rows_that_do_not_affect_one_another_may_be_batched() {
        assert_eq!(tried(&mut Adding(0.0)), None);
    }

    #[test]
    fn rows_that_do_are_noticed() {
        let told = tried(&mut Adding(1.0)).unwrap();
        assert_eq!(told, "output \"y\" of a row is another where it is run together with a second one");
    }

    #[test]
    fn an_output_with_another_number_of_rows_is_noticed() {
        assert_eq!(tried(&mut Counting).unwrap(), "output \"y\" of two rows has the shape [0,1]");
    }
}
