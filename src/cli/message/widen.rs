//! From the type of a NumPy file to the one that a model takes: only where every value of the one has its equal in the
//! other, whatever the values are, so that a file that works today does not fail tomorrow. int32 becomes INT64 and
//! float32 FP64, but float64 does not become FP32 nor int64 INT32.

use super::number::Number;
use crate::error::{Error, Result};
use crate::tensor::DType;

/// Elements of one type as those of another, where each has its equal there.
///
/// # Errors
/// `Invalid`, saying how to save the file instead.
pub fn convert(from: DType, raw: Vec<u8>, to: DType) -> Result<Vec<u8>> {
    if from == to {
        return Ok(raw);
    }
    let (Some(size), true) = (from.size(), has_equals(from, to)) else {
        let (given, cure) = (numpy_name(from), numpy_name(to));
        return Err(Error::invalid(format!(
            "its elements are {given} and the model takes {to}: save it with .astype({cure})"
        )));
    };
    let mut converted = Vec::with_capacity(raw.len() * 2);
    raw.chunks_exact(size).try_for_each(|element| Number::read(from, element).write(to, &mut converted))?;
    Ok(converted)
}

/// What a type can count exactly.
enum Numbers {
    Unsigned(u32),
    Signed(u32),
    /// Bits of the significand, bits of the exponent.
    Float(u32, u32),
}

fn numbers(dtype: DType) -> Option<Numbers> {
    match dtype {
        DType::Bool => Some(Numbers::Unsigned(1)),
        DType::Uint8 => Some(Numbers::Unsigned(8)),
        DType::Uint16 => Some(Numbers::Unsigned(16)),
        DType::Uint32 => Some(Numbers::Unsigned(32)),
        DType::Uint64 => Some(Numbers::Unsigned(64)),
        DType::Int8 => Some(Numbers::Signed(8)),
        DType::Int16 => Some(Numbers::Signed(16)),
        DType::Int32 => Some(Numbers::Signed(32)),
        DType::Int64 => Some(Numbers::Signed(64)),
        DType::Fp16 => Some(Numbers::Float(11, 5)),
        DType::Bf16 => Some(Numbers::Float(8, 8)),
        DType::Fp32 => Some(Numbers::Float(24, 8)),
        DType::Fp64 => Some(Numbers::Float(53, 11)),
        DType::Bytes => None,
    }
}

/// Whether every number of `from` is one of `to`.
fn has_equals(from: DType, to: DType) -> bool {
    use Numbers::{Float, Signed, Unsigned};
    match (numbers(from), numbers(to)) {
        (Some(Unsigned(given)), Some(Unsigned(taken))) | (Some(Signed(given)), Some(Signed(taken))) => given <= taken,
        (Some(Unsigned(given)), Some(Signed(taken))) => given < taken,
        (Some(Unsigned(given)), Some(Float(significand, _))) => given <= significand,
        (Some(Signed(given)), Some(Float(significand, _))) => given - 1 <= significand,
        (Some(Float(given, exponent)), Some(Float(significand, taken))) => given <= significand && exponent <= taken,
        _ => false,
    }
}

fn numpy_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "numpy.bool_",
        DType::Uint8 => "numpy.uint8",
        DType::Uint16 => "numpy.uint16",
        DType::Uint32 => "numpy.uint32",
        DType::Uint64 => "numpy.uint64",
        DType::Int8 => "numpy.int8",
        DType::Int16 => "numpy.int16",
        DType::Int32 => "numpy.int32",
        DType::Int64 => "numpy.int64",
        DType::Fp16 => "numpy.float16",
        DType::Bf16 => "ml_dtypes.bfloat16",
        DType::Fp32 => "numpy.float32",
        DType::Fp64 => "numpy.float64",
        DType::Bytes => "numpy.bytes_",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_are_widened() {
        assert_eq!(
            convert(DType::Int32, (-2i32).to_le_bytes().to_vec(), DType::Int64),
            Ok((-2i64).to_le_bytes().to_vec())
        );
        assert_eq!(convert(DType::Uint8, vec![255], DType::Fp32), Ok(255f32.to_le_bytes().to_vec()));
        assert_eq!(
            convert(DType::Fp32, 0.1f32.to_le_bytes().to_vec(), DType::Fp64),
            Ok(f64::from(0.1f32).to_le_bytes().to_vec())
        );
        assert_eq!(convert(DType::Bool, vec![1], DType::Int64), Ok(1i64.to_le_bytes().to_vec()));
    }

    #[test]
    fn what_could_lose_a_value_is_refused_with_the_cure() {
        let refusal = |from, to| convert(from, vec![0; 8], to).unwrap_err().to_string();
        assert_eq!(
            refusal(DType::Fp64, DType::Fp32),
            "its elements are numpy.float64 and the model takes FP32: save it with .astype(numpy.float32)"
        );
        for (from, to) in [
            (DType::Int64, DType::Int32),
            (DType::Int64, DType::Fp64),
            (DType::Int8, DType::Uint8),
            (DType::Uint8, DType::Int8),
            (DType::Fp16, DType::Bf16),
            (DType::Bf16, DType::Fp16),
            (DType::Fp32, DType::Int64),
            (DType::Uint8, DType::Bool),
            (DType::Bytes, DType::Int8),
            (DType::Int8, DType::Bytes),
        ] {
            assert!(refusal(from, to).contains(".astype("), "{from} {to}");
        }
    }

    #[test]
    fn every_small_number_survives_each_conversion_that_is_made() {
        for from in DType::ALL {
            for to in DType::ALL.into_iter().filter(|to| has_equals(from, *to)) {
                let mut raw = Vec::new();
                Number::Int(1).write(from, &mut raw).unwrap();
                let converted = convert(from, raw, to).unwrap();
                let one = Number::read(to, &converted);
                assert!(matches!(one.text().as_str(), "1" | "1.0" | "true"), "{from} {to} {one:?}");
            }
        }
    }
}
