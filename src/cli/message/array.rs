//! Values as they were given: a shape and elements, not yet of the type and shape that a model takes.

use serde_json::Value;

use super::number::Number;
use super::{fit, widen};
use crate::error::{Error, Result};
use crate::tensor::{DType, Shape, Tensor, TensorSpec, strings};

/// What was given for one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The shape it was given in.
    pub dims: Vec<i64>,
    /// The elements in row-major order.
    pub elements: Elements,
}

/// Elements before they become a tensor's.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// Of JSON: numbers, truth values, strings.
    Literal(Vec<Value>),
    /// Of a NumPy file: a type of their own, and raw bytes.
    Typed(DType, Vec<u8>),
}

impl Array {
    /// The array in a JSON value: a scalar, or lists in lists, all of one depth equally long.
    ///
    /// # Errors
    /// `Invalid` where they are not, or contain an object or `null`.
    pub fn literal(value: Value) -> Result<Array> {
        let mut dims = Vec::new();
        let mut innermost = &value;
        while let Value::Array(entries) = innermost {
            dims.push(entries.len() as i64);
            match entries.first() {
                Some(first) => innermost = first,
                None => break,
            }
        }
        let mut elements = Vec::new();
        flatten(value, &dims, &mut elements)?;
        Ok(Array { dims, elements: Elements::Literal(elements) })
    }

    /// A single string.
    pub fn text(text: &str) -> Array {
        Array { dims: Vec::new(), elements: Elements::Literal(vec![text.into()]) }
    }

    /// The tensor that a model takes for it.
    ///
    /// # Errors
    /// `Invalid`, naming the input, where the shape does not fit or an element has no equal in the model's type.
    pub fn tensor(self, spec: &TensorSpec) -> Result<Tensor> {
        let blamed = |error: Error| error.within(format_args!("input {:?}", spec.name));
        let dims = fit::fit(&self.dims, spec).map_err(blamed)?;
        let data = match self.elements {
            Elements::Literal(values) => literals(&values, spec.dtype),
            Elements::Typed(dtype, raw) => widen::convert(dtype, raw, spec.dtype),
        };
        let shape = Shape::new(&dims).map_err(blamed)?;
        Tensor::new(spec.name.clone(), spec.dtype, shape, data.map_err(blamed)?.into())
    }
}

fn flatten(value: Value, dims: &[i64], elements: &mut Vec<Value>) -> Result<()> {
    match (value, dims) {
        (Value::Array(entries), [expected, deeper @ ..]) => {
            if entries.len() as i64 != *expected {
                let got = entries.len();
                return Err(Error::invalid(format!("lists beside one another have {expected} and {got} entries")));
            }
            entries.into_iter().try_for_each(|entry| flatten(entry, deeper, elements))
        }
        (Value::Array(_), []) | (Value::Number(_) | Value::Bool(_) | Value::String(_), [_, ..]) => {
            Err(Error::invalid("a list and a single value stand beside one another"))
        }
        (Value::Object(_), _) => Err(Error::invalid("an object is no tensor: give lists in lists")),
        (Value::Null, _) => Err(Error::invalid("null is no element")),
        (value, []) => {
            elements.push(value);
            Ok(())
        }
    }
}

/// JSON's elements as raw bytes. The strings `NaN`, `Infinity` and `-Infinity` are floats too.
fn literals(values: &[Value], dtype: DType) -> Result<Vec<u8>> {
    let mut raw = Vec::with_capacity(values.len() * dtype.size().unwrap_or(16));
    for value in values {
        match (value, dtype) {
            (Value::String(text), DType::Bytes) => strings::push(&mut raw, text.as_bytes())?,
            (Value::String(text), _) => special(text, dtype)?.write(dtype, &mut raw)?,
            (other, DType::Bytes) => return Err(Error::invalid(format!("{other} is no string: write \"{other}\""))),
            (Value::Bool(truth), DType::Bool) => Number::Bool(*truth).write(dtype, &mut raw)?,
            (Value::Number(number), _) => literal(number).write(dtype, &mut raw)?,
            (other, _) => return Err(Error::invalid(format!("{other} is no {dtype}"))),
        }
    }
    Ok(raw)
}

fn literal(number: &serde_json::Number) -> Number {
    match number.as_i128() {
        Some(integer) => Number::Int(integer),
        None => Number::Double(number.as_f64().unwrap_or(f64::NAN)),
    }
}

fn special(text: &str, dtype: DType) -> Result<Number> {
    let float = matches!(dtype, DType::Fp16 | DType::Bf16 | DType::Fp32 | DType::Fp64);
    match text {
        "NaN" if float => Ok(Number::Double(f64::NAN)),
        "Infinity" if float => Ok(Number::Double(f64::INFINITY)),
        "-Infinity" if float => Ok(Number::Double(f64::NEG_INFINITY)),
        _ => Err(Error::invalid(format!("{text:?} is no {dtype}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tensor::Dim;

    fn spec(dtype: DType, dims: &[i64]) -> TensorSpec {
        let dim = |size: &i64| if *size < 0 { Dim::Free(None) } else { Dim::Fixed(*size) };
        TensorSpec { name: "x".into(), dtype, dims: dims.iter().map(dim).collect(), optional: false }
    }

    fn tensor(value: Value, dtype: DType, dims: &[i64]) -> Result<Tensor, String> {
        Array::literal(value).and_then(|array| array.tensor(&spec(dtype, dims))).map_err(|error| error.to_string())
    }

    fn raw(value: Value, dtype: DType, dims: &[i64]) -> Result<Vec<u8>, String> {
        tensor(value, dtype, dims).map(|tensor| tensor.data().to_bytes().to_vec())
    }

    #[test]
    fn nested_lists_are_row_major() {
        let tensor = tensor(json!([[1, 2, 3], [4, 5, 6]]), DType::Int8, &[-1, 3]).unwrap();
        assert_eq!(&tensor.shape()[..], [2, 3]);
        assert_eq!(tensor.data().to_bytes().as_ref(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn scalars_and_empty_lists_are_tensors() {
        assert_eq!(raw(json!(7), DType::Uint8, &[]), Ok(vec![7]));
        assert_eq!(raw(json!([]), DType::Uint8, &[-1]), Ok(vec![]));
        assert_eq!(raw(json!([[], []]), DType::Fp32, &[2, -1]), Ok(vec![]));
    }

    #[test]
    fn strings_are_utf8_behind_their_length() {
        assert_eq!(raw(json!(["é", ""]), DType::Bytes, &[2]), Ok(vec![2, 0, 0, 0, 0xc3, 0xa9, 0, 0, 0, 0]));
    }

    #[test]
    fn truth_is_written_as_such_or_as_a_number() {
        assert_eq!(raw(json!([true, 0, 1, false]), DType::Bool, &[4]), Ok(vec![1, 0, 1, 0]));
        assert_eq!(raw(json!([2]), DType::Bool, &[1]), Err("input \"x\": 2 is no BOOL".into()));
        assert_eq!(raw(json!([true]), DType::Fp32, &[1]), Err("input \"x\": true is no FP32".into()));
    }

    #[test]
    fn what_json_has_no_number_for_is_written_as_text() {
        assert_eq!(raw(json!(["-Infinity"]), DType::Fp32, &[1]), Ok(f32::NEG_INFINITY.to_le_bytes().to_vec()));
        assert_eq!(raw(json!(["inf"]), DType::Fp32, &[1]), Err("input \"x\": \"inf\" is no FP32".into()));
        assert_eq!(raw(json!(["NaN"]), DType::Int8, &[1]), Err("input \"x\": \"NaN\" is no INT8".into()));
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        let refused = |value| tensor(value, DType::Fp32, &[-1, -1]).unwrap_err();
        assert_eq!(refused(json!([[1, 2], [3]])), "lists beside one another have 2 and 1 entries");
        assert_eq!(refused(json!([[1], 2])), "a list and a single value stand beside one another");
        assert_eq!(refused(json!([1, [2]])), "a list and a single value stand beside one another");
        assert_eq!(refused(json!([[null]])), "null is no element");
        assert_eq!(refused(json!({"a": 1})), "an object is no tensor: give lists in lists");
        assert_eq!(refused(json!([[], [1]])), "lists beside one another have 0 and 1 entries");
    }

    #[test]
    fn a_number_where_the_model_takes_text_says_how_to_write_it() {
        assert_eq!(raw(json!([7]), DType::Bytes, &[1]), Err("input \"x\": 7 is no string: write \"7\"".into()));
    }
}
