//! Numbers between what people write and what tensors hold: one element at a time, little-endian.

use half::{bf16, f16};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::tensor::DType;

/// One element of a numeric type, as exact as that type is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A truth value.
    Bool(bool),
    /// Any integer.
    Int(i128),
    /// A float of single precision or less.
    Single(f32),
    /// A float of double precision.
    Double(f64),
}

impl Number {
    /// Reads an element; `bytes` are as many as the type takes.
    ///
    /// # Panics
    /// For BYTES, whose elements are no numbers.
    pub fn read(dtype: DType, bytes: &[u8]) -> Number {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        match dtype {
            DType::Bool => Number::Bool(bits != 0),
            DType::Uint8 | DType::Uint16 | DType::Uint32 | DType::Uint64 => Number::Int(bits.into()),
            DType::Int8 => Number::Int((bits as i8).into()),
            DType::Int16 => Number::Int((bits as i16).into()),
            DType::Int32 => Number::Int((bits as i32).into()),
            DType::Int64 => Number::Int((bits as i64).into()),
            DType::Fp16 => Number::Single(f16::from_bits(bits as u16).to_f32()),
            DType::Bf16 => Number::Single(bf16::from_bits(bits as u16).to_f32()),
            DType::Fp32 => Number::Single(f32::from_bits(bits as u32)),
            DType::Fp64 => Number::Double(f64::from_bits(bits)),
            DType::Bytes => panic!("the elements of BYTES are no numbers"),
        }
    }

    /// Appends the number as an element of `dtype`, rounded to it where that is a float.
    ///
    /// # Errors
    /// `Invalid` where the type has no such number.
    pub fn write(self, dtype: DType, out: &mut Vec<u8>) -> Result<()> {
        let written = match range(dtype) {
            Some(range) => self.whole().filter(|number| range.contains(number)).map(|number| {
                out.extend_from_slice(&number.to_le_bytes()[..dtype.size().expect("integers have a size")]);
            }),
            None => self.rounded(dtype, out),
        };
        written.ok_or_else(|| Error::invalid(format!("{} is no {dtype}", self.text())))
    }

    /// The number without a fraction, where it has none and is not beyond what a double counts exactly.
    fn whole(self) -> Option<i128> {
        const EXACT: f64 = (1u64 << 53) as f64;
        match self {
            Number::Bool(truth) => Some(truth.into()),
            Number::Int(number) => Some(number),
            Number::Single(number) => Number::Double(number.into()).whole(),
            Number::Double(number) => (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i128),
        }
    }

    /// Rounds to a float type; nothing where a finite number would become infinite.
    fn rounded(self, dtype: DType, out: &mut Vec<u8>) -> Option<()> {
        let number = match self {
            Number::Bool(truth) => truth.into(),
            Number::Int(number) => number as f64,
            Number::Single(number) => number.into(),
            Number::Double(number) => number,
        };
        let stays_finite = |rounded: f64| rounded.is_finite() || !number.is_finite();
        match dtype {
            DType::Fp16 if stays_finite(f16::from_f64(number).to_f64()) => {
                out.extend(f16::from_f64(number).to_le_bytes())
            }
            DType::Bf16 if stays_finite(bf16::from_f64(number).to_f64()) => {
                out.extend(bf16::from_f64(number).to_le_bytes());
            }
            DType::Fp32 if stays_finite((number as f32).into()) => out.extend((number as f32).to_le_bytes()),
            DType::Fp64 => out.extend(number.to_le_bytes()),
            _ => return None,
        }
        Some(())
    }

    /// As JSON. What JSON has no number for is the text `NaN`, `Infinity` or `-Infinity`.
    pub fn json(self) -> Value {
        match self {
            Number::Bool(truth) => truth.into(),
            Number::Int(number) => match u64::try_from(number) {
                Ok(number) => number.into(),
                Err(_) => (number as i64).into(),
            },
            // By way of its text, so that 0.1 stays 0.1 and not the double next to it.
            Number::Single(number) => match number.to_string().parse::<f64>() {
                Ok(number) if number.is_finite() => number.into(),
                _ => Number::Double(number.into()).json(),
            },
            Number::Double(number) if number.is_nan() => "NaN".into(),
            Number::Double(number) if number.is_infinite() => {
                if number > 0.0 {
                    "Infinity".into()
                } else {
                    "-Infinity".into()
                }
            }
            Number::Double(number) => number.into(),
        }
    }

    /// In full.
    pub fn text(self) -> String {
        match self.json() {
            Value::String(text) => text,
            value => value.to_string(),
        }
    }

    /// For a table: floats with four digits behind the point, or four in all where that says nothing.
    pub fn short(self) -> String {
        let number = match self {
            Number::Single(number) => f64::from(number),
            Number::Double(number) => number,
            _ => return self.text(),
        };
        match number.abs() {
            size if !size.is_finite() => self.text(),
            0.0 => "0.0".into(),
            size if !(1e-3..1e6).contains(&size) => format!("{number:.3e}"),
            _ => {
                let text = format!("{number:.4}");
                let trimmed = text.trim_end_matches('0');
                if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.into() }
            }
        }
    }
}

/// What an integer type holds; nothing for floats.
fn range(dtype: DType) -> Option<std::ops::RangeInclusive<i128>> {
    let signed = |bits: u32| -(1i128 << (bits - 1))..=(1i128 << (bits - 1)) - 1;
    let unsigned = |bits: u32| 0..=(1i128 << bits) - 1;
    match dtype {
        DType::Bool => Some(unsigned(1)),
        DType::Uint8 => Some(unsigned(8)),
        DType::Uint16 => Some(unsigned(16)),
        DType::Uint32 => Some(unsigned(32)),
        DType::Uint64 => Some(unsigned(64)),
        DType::Int8 => Some(signed(8)),
        DType::Int16 => Some(signed(16)),
        DType::Int32 => Some(signed(32)),
        DType::Int64 => Some(signed(64)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: Number, dtype: DType) -> Result<Number, String> {
        let mut bytes = Vec::new();
        number.write(dtype, &mut bytes).map_err(|error| error.to_string())?;
        assert_eq!(Some(bytes.len()), dtype.size());
        Ok(Number::read(dtype, &bytes))
    }

    #[test]
    fn the_ends_of_every_integer_type_come_back() {
        for dtype in DType::ALL {
            let Some(range) = range(dtype) else { continue };
            for end in [*range.start(), *range.end()] {
                let back = if dtype == DType::Bool { Number::Bool(end != 0) } else { Number::Int(end) };
                assert_eq!(written(Number::Int(end), dtype), Ok(back), "{dtype}");
            }
            assert!(written(Number::Int(range.start() - 1), dtype).is_err(), "{dtype}");
            assert!(written(Number::Int(range.end() + 1), dtype).is_err(), "{dtype}");
        }
    }

    #[test]
    fn what_a_type_does_not_have_is_refused() {
        assert_eq!(written(Number::Int(300), DType::Uint8), Err("300 is no UINT8".into()));
        assert_eq!(written(Number::Double(1.5), DType::Int32), Err("1.5 is no INT32".into()));
        assert_eq!(written(Number::Double(1e300), DType::Fp32), Err("1e+300 is no FP32".into()));
        assert_eq!(written(Number::Double(65520.0), DType::Fp16), Err("65520.0 is no FP16".into()));
        assert_eq!(written(Number::Double(f64::NAN), DType::Int64), Err("NaN is no INT64".into()));
        assert_eq!(written(Number::Double(1e19), DType::Uint64), Err("1e+19 is no UINT64".into()));
    }

    #[test]
    fn floats_are_rounded_and_a_whole_one_is_an_integer() {
        assert_eq!(written(Number::Double(0.1), DType::Fp32), Ok(Number::Single(0.1)));
        assert_eq!(written(Number::Double(2.0), DType::Int8), Ok(Number::Int(2)));
        assert_eq!(written(Number::Double(f64::NEG_INFINITY), DType::Bf16), Ok(Number::Single(f32::NEG_INFINITY)));
        assert_eq!(written(Number::Int(1), DType::Fp16), Ok(Number::Single(1.0)));
    }

    #[test]
    fn json_keeps_the_digits_of_the_type() {
        assert_eq!(Number::Single(0.1).json().to_string(), "0.1");
        assert_eq!(Number::Int(i128::from(u64::MAX)).json().to_string(), u64::MAX.to_string());
        assert_eq!(Number::Int(-5).json().to_string(), "-5");
        assert_eq!(Number::Single(f32::NAN).json(), "NaN");
        assert_eq!(Number::Double(f64::NEG_INFINITY).json(), "-Infinity");
    }

    #[test]
    fn tables_show_a_few_digits() {
        let short = |number| Number::Double(number).short();
        assert_eq!(short(0.98765), "0.9877");
        assert_eq!(short(3.0), "3.0");
        assert_eq!(short(-0.5), "-0.5");
        assert_eq!(short(0.0), "0.0");
        assert_eq!(short(0.00012345), "1.234e-4");
        assert_eq!(short(123456789.0), "1.235e8");
        assert_eq!(short(f64::INFINITY), "Infinity");
    }
}
