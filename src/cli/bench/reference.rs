//! Whether an answer is the one that was expected: the reference is an answer to the same message, alone.

use bytes::Bytes;
use prost::Message;

use crate::cli::message::answer::Answer;
use crate::cli::message::number::Number;
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, strings};
use crate::wire::proto::inference::ModelInferResponse;

/// The answer that all are compared with.
#[derive(Debug)]
pub struct Reference {
    message: Bytes,
    answer: Answer,
    tolerance: Option<f64>,
}

impl Reference {
    /// Reads the answer. Floats may differ by the tolerance, absolute and relative; where none is given by what the
    /// order of a sum makes of their type. Everything else is to be equal.
    ///
    /// # Errors
    /// `Invalid` where the message is no answer.
    pub fn new(message: Bytes, tolerance: Option<f64>) -> Result<Reference> {
        Ok(Reference { answer: read(message.clone())?, message, tolerance })
    }

    /// How an answer differs; nothing where it does not.
    pub fn difference(&self, message: &Bytes) -> Option<String> {
        // Most are equal in every byte.
        if *message == self.message {
            return None;
        }
        match read(message.clone()) {
            Ok(answer) => self.differing(&answer),
            Err(error) => Some(format!("no answer can be read: {error}")),
        }
    }

    fn differing(&self, answer: &Answer) -> Option<String> {
        let (expected, got) = (&self.answer, answer);
        if expected.outputs.len() != got.outputs.len() {
            let (expected, got) = (expected.outputs.len(), got.outputs.len());
            return Some(format!("expected {expected} outputs, got {got}"));
        }
        expected.outputs.iter().find_map(|expected| {
            let name = expected.name();
            match got.outputs.iter().find(|output| output.name() == name) {
                Some(got) => self.unequal(expected, got).map(|why| format!("output {name:?}: {why}")),
                None => Some(format!("output {name:?} is missing")),
            }
        })
    }

    fn unequal(&self, expected: &Tensor, got: &Tensor) -> Option<String> {
        let dtype = expected.dtype();
        if (dtype, expected.shape()) != (got.dtype(), got.shape()) {
            let (shape, other) = (expected.shape(), got.shape());
            return Some(format!("expected {dtype} {shape}, got {} {other}", got.dtype()));
        }
        let (one, other) = (expected.data().to_bytes(), got.data().to_bytes());
        let mut pairs = elements(dtype, &one).zip(elements(dtype, &other)).enumerate();
        let (index, (expected, got)) = pairs.find(|(_, (expected, got))| !self.is_close(dtype, expected, got))?;
        Some(format!("element {index}: expected {}, got {}", text(dtype, expected), text(dtype, got)))
    }

    fn is_close(&self, dtype: DType, expected: &[u8], got: &[u8]) -> bool {
        expected == got
            || match (float(dtype, expected), float(dtype, got)) {
                (Some(expected), Some(got)) => {
                    let tolerance = self.tolerance.unwrap_or_else(|| usual(dtype)) * (1.0 + expected.abs());
                    let is_near = tolerance.is_finite() && (expected - got).abs() <= tolerance;
                    is_near || expected == got || expected.is_nan() && got.is_nan()
                }
                _ => false,
            }
    }
}

/// The raw elements of a tensor.
fn elements(dtype: DType, raw: &[u8]) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    match dtype.size() {
        Some(size) => Box::new(raw.chunks_exact(size)),
        None => Box::new(strings::Elements::new(raw).map_while(Result::ok)),
    }
}

fn read(message: Bytes) -> Result<Answer> {
    let response = ModelInferResponse::decode(message).map_err(|error| Error::invalid(error.to_string()))?;
    Answer::read(response)
}

/// What a type's floats may differ by where nothing is said: some units in the last place of values around 1.
fn usual(dtype: DType) -> f64 {
    match dtype {
        DType::Bf16 => 2e-2,
        DType::Fp16 => 2e-3,
        _ => 1e-4,
    }
}

fn float(dtype: DType, element: &[u8]) -> Option<f64> {
    match dtype {
        DType::Bytes => None,
        _ => match Number::read(dtype, element) {
            Number::Single(number) => Some(number.into()),
            Number::Double(number) => Some(number),
            Number::Bool(_) | Number::Int(_) => None,
        },
    }
}

fn text(dtype: DType, element: &[u8]) -> String {
    match dtype {
        DType::Bytes => format!("{:?}", String::from_utf8_lossy(element)),
        _ => Number::read(dtype, element).text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::inference::model_infer_response::InferOutputTensor;

    fn answer(datatype: &str, raw: &[u8], elements: i64) -> Bytes {
        let (name, datatype, shape) = ("y".into(), datatype.into(), vec![elements]);
        let response = ModelInferResponse {
            outputs: vec![InferOutputTensor { name, datatype, shape, ..Default::default() }],
            raw_output_contents: vec![raw.to_vec().into()],
            ..Default::default()
        };
        response.encode_to_vec().into()
    }

    fn floats(values: &[f32]) -> Bytes {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        answer("FP32", &raw, values.len() as i64)
    }

    fn compared(reference: Bytes, got: Bytes, tolerance: Option<f64>) -> Option<String> {
        Reference::new(reference, tolerance).unwrap().difference(&got)
    }

    #[test]
    fn floats_may_differ_in_their_last_bits_unless_nothing_is_tolerated() {
        let (one, other) = (floats(&[1.0, 1000.0, f32::NAN]), floats(&[1.000_05, 1000.05, f32::NAN]));
        assert_eq!(compared(one.clone(), other.clone(), None), None);
        let exact = compared(one.clone(), other, Some(0.0)).unwrap();
        assert_eq!(exact, "output \"y\": element 0: expected 1.0, got 1.00005");
        let far = compared(one, floats(&[1.0, 1001.0, f32::NAN]), None).unwrap();
        assert_eq!(far, "output \"y\": element 1: expected 1000.0, got 1001.0");
        assert!(compared(floats(&[1.0]), floats(&[f32::NAN]), None).is_some());
        assert_eq!(compared(floats(&[f32::INFINITY, 0.0]), floats(&[f32::INFINITY, -0.0]), Some(0.0)), None);
        assert!(compared(floats(&[f32::INFINITY]), floats(&[1.0]), None).is_some());
        assert!(compared(floats(&[1.0]), floats(&[f32::INFINITY]), None).is_some());
    }

    #[test]
    fn integers_and_strings_are_equal_or_not() {
        let integers = compared(answer("INT8", &[7], 1), answer("INT8", &[8], 1), Some(10.0)).unwrap();
        assert_eq!(integers, "output \"y\": element 0: expected 7, got 8");
        let strings = compared(answer("BYTES", b"\x01\0\0\0a", 1), answer("BYTES", b"\x01\0\0\0b", 1), None).unwrap();
        assert_eq!(strings, "output \"y\": element 0: expected \"a\", got \"b\"");
    }

    #[test]
    fn other_shapes_and_what_is_no_answer_differ() {
        let shape = compared(floats(&[1.0]), floats(&[1.0, 2.0]), None).unwrap();
        assert_eq!(shape, "output \"y\": expected FP32 [1], got FP32 [2]");
        let garbage = compared(floats(&[1.0]), Bytes::from_static(b"\xff"), None).unwrap();
        assert!(garbage.starts_with("no answer can be read: "), "{garbage}");
    }

    #[test]
    fn what_is_beside_the_outputs_may_differ() {
        let mut named = ModelInferResponse::decode(floats(&[1.0])).unwrap();
        named.id = "7".into();
        assert_eq!(compared(floats(&[1.0]), named.encode_to_vec().into(), Some(0.0)), None);
    }
}
