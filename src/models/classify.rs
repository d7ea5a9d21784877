//! The `classification` parameter: the best classes of an output as text, with their labels.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytestring::ByteString;
use half::{bf16, f16};
use smallvec::SmallVec;
use tower::Service;

use super::labels::Labels;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::infer::{Infer, InferRequest, InferResponse};
use crate::tensor::{DType, Shape, Tensor, strings};

/// Answers outputs that are asked for as classes with BYTES elements `value:index` or `value:index:label`, the best
/// first: `[rows, classes]` where the output has two dimensions or more, the first of which are the rows, else
/// `[classes]`.
#[derive(Debug, Clone)]
pub struct Classified<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Classified<S> {
    /// Classes with the labels of `settings`.
    pub fn new(settings: Arc<Settings>, inner: S) -> Self {
        Classified { inner, settings }
    }
}

impl<S: Infer> Service<InferRequest> for Classified<S> {
    type Response = InferResponse;
    type Error = Error;
    type Future = Classifying<S::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: InferRequest) -> Self::Future {
        let wanted: Wanted =
            request.outputs.iter().filter_map(|output| Some((output.name.clone(), output.classes?))).collect();
        Classifying { answer: self.inner.call(request), wanted, settings: self.settings.clone() }
    }
}

type Wanted = SmallVec<[(ByteString, u32); 0]>;

pin_project_lite::pin_project! {
    /// The future of one call whose outputs may be classified.
    pub struct Classifying<F> {
        #[pin]
        answer: F,
        wanted: Wanted,
        settings: Arc<Settings>,
    }
}

impl<F: Future<Output = Result<InferResponse>>> Future for Classifying<F> {
    type Output = Result<InferResponse>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(cx))?;
        for (name, count) in this.wanted.drain(..) {
            let labels = this.settings.labels.get(&*name).map_or(&[][..], Labels::names);
            for output in response.outputs.iter_mut().filter(|output| *output.name() == name) {
                *output =
                    classify(output, count, labels).map_err(|error| error.within(format_args!("output {name:?}")))?;
                // The message has the tensor still.
                response.received = None;
            }
        }
        Poll::Ready(Ok(response))
    }
}

/// The best `count` classes of each row.
fn classify(output: &Tensor, count: u32, labels: &[ByteString]) -> Result<Tensor> {
    let (rows, classes) = match &**output.shape() {
        [] => return Err(Error::invalid("a scalar has no classes")),
        [classes] => (None, *classes as usize),
        [rows, rest @ ..] => (Some(*rows), rest.iter().product::<i64>() as usize),
    };
    let count = classes.min(count as usize);
    let raw = output.data().to_bytes();
    let mut text = Vec::new();
    if count > 0 {
        let size =
            output.dtype().size().ok_or_else(|| Error::invalid("BYTES elements have no order to classify by"))?;
        for row in raw.chunks_exact(classes * size) {
            best(&mut text, row, output.dtype(), count, labels)?;
        }
    }
    let shape = match rows {
        Some(rows) => Shape::new(&[rows, count as i64])?,
        None => Shape::new(&[count as i64])?,
    };
    Tensor::new(output.name().clone(), DType::Bytes, shape, text.into())
}

/// Appends the best classes of one row; of equal ones the first comes first, and what is no number comes last.
fn best(text: &mut Vec<u8>, row: &[u8], dtype: DType, count: usize, labels: &[ByteString]) -> Result<()> {
    let size = dtype.size().unwrap_or(1);
    let mut values: Vec<(usize, Value)> =
        row.chunks_exact(size).map(|element| Value::read(dtype, element)).enumerate().collect();
    values.sort_by(|(_, a), (_, b)| b.rank().total_cmp(&a.rank()).then_with(|| b.integer().cmp(&a.integer())));
    for (index, value) in values.into_iter().take(count) {
        let class = match labels.get(index) {
            Some(label) => format!("{value}:{index}:{label}"),
            None => format!("{value}:{index}"),
        };
        strings::push(text, class.as_bytes())?;
    }
    Ok(())
}

/// An element as a number that can be compared and written.
enum Value {
    Float(f64),
    Integer(i128),
}

impl Value {
    fn read(dtype: DType, element: &[u8]) -> Value {
        let mut wide = [0u8; 8];
        wide[..element.len()].copy_from_slice(element);
        let bits = u64::from_le_bytes(wide);
        match dtype {
            DType::Fp16 => Value::Float(f16::from_bits(bits as u16).to_f64()),
            DType::Bf16 => Value::Float(bf16::from_bits(bits as u16).to_f64()),
            DType::Fp32 => Value::Float(f32::from_bits(bits as u32).into()),
            DType::Fp64 => Value::Float(f64::from_bits(bits)),
            DType::Int8 => Value::Integer((bits as i8).into()),
            DType::Int16 => Value::Integer((bits as i16).into()),
            DType::Int32 => Value::Integer((bits as i32).into()),
            DType::Int64 => Value::Integer((bits as i64).into()),
            DType::Bool | DType::Uint8 | DType::Uint16 | DType::Uint32 | DType::Uint64 | DType::Bytes => {
                Value::Integer(bits.into())
            }
        }
    }

    /// For the order: a float, with what is no number below everything.
    fn rank(&self) -> f64 {
        match self {
            Value::Float(value) if value.is_nan() => f64::NEG_INFINITY,
            Value::Float(value) => *value,
            Value::Integer(value) => *value as f64,
        }
    }

    /// For the order of integers that are equal as floats.
    fn integer(&self) -> i128 {
        match self {
            Value::Float(_) => 0,
            Value::Integer(value) => *value,
        }
    }
}

impl std::fmt::Display for Value {
    /// As C's `%f` and `%d`, which clients of Triton parse.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Float(value) if value.is_nan() => f.write_str("nan"),
            Value::Float(value) => write!(f, "{value:.6}"),
            Value::Integer(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples::answer;

    fn floats(dims: &[i64], values: &[f32]) -> Tensor {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::new("probs".into(), DType::Fp32, Shape::new(dims).unwrap(), data.into()).unwrap()
    }

    fn texts(tensor: &Tensor) -> Vec<String> {
        tensor.elements().map(|element| String::from_utf8(element.to_vec()).unwrap()).collect()
    }

    #[test]
    fn each_row_gives_its_best_classes_with_their_labels() {
        let output = floats(&[2, 3], &[0.1, 0.7, 0.2, 0.5, f32::NAN, 0.5]);
        let labels = ["cat".into(), "dog".into()];
        let classes = classify(&output, 2, &labels).unwrap();
        assert_eq!(&**classes.shape(), [2, 2]);
        assert_eq!(texts(&classes), ["0.700000:1:dog", "0.200000:2", "0.500000:0:cat", "0.500000:2"]);
    }

    #[test]
    fn more_classes_than_there_are_gives_all_and_a_vector_is_one_row() {
        let classes = classify(&floats(&[2], &[1.0, 3.0]), 9, &[]).unwrap();
        assert_eq!(&**classes.shape(), [2]);
        assert_eq!(texts(&classes), ["3.000000:1", "1.000000:0"]);
    }

    #[test]
    fn large_integers_keep_their_order_and_empty_outputs_give_nothing() {
        let data: Vec<u8> = [i64::MAX - 1, i64::MAX].iter().flat_map(|value| value.to_le_bytes()).collect();
        let output = Tensor::new("y".into(), DType::Int64, Shape::new(&[2]).unwrap(), data.into()).unwrap();
        assert_eq!(texts(&classify(&output, 1, &[]).unwrap()), ["9223372036854775807:1"]);
        assert_eq!(&**classify(&floats(&[0, 3], &[]), 2, &[]).unwrap().shape(), [0, 2]);
        assert_eq!(&**classify(&floats(&[2, 0], &[]), 2, &[]).unwrap().shape(), [2, 0]);
    }

    #[test]
    fn strings_and_scalars_have_no_classes() {
        let strings = Tensor::new("s".into(), DType::Bytes, Shape::new(&[1]).unwrap(), vec![0; 4].into()).unwrap();
        assert!(classify(&strings, 1, &[]).is_err());
        assert!(classify(&floats(&[], &[1.0]), 1, &[]).is_err());
    }

    #[tokio::test]
    async fn an_answer_with_classes_is_not_the_message_that_came() {
        for (classes, received) in [(Some(1), None), (None, Some("as it came".into()))] {
            let response = InferResponse {
                received: Some("as it came".into()),
                ..answer([floats(&[2], &[1.0, 3.0])], Default::default())
            };
            let answer = std::future::ready(Ok(response));
            let wanted = classes.map(|count| ("probs".into(), count)).into_iter().collect();
            let classified = Classifying { answer, wanted, settings: Arc::default() }.await.unwrap();
            assert_eq!(classified.received, received);
        }
    }
}
