//! For tests: arbitrary tensors, spelled out element by element, and answers made of them.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::select;

use crate::infer::{Close, Composition, Execution, InferResponse, LoadReport, Parameters, Version};
use crate::tensor::{DType, Rope, Shape, Tensor, strings};

/// A tensor as its elements: each little-endian, or a string.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<i64>,
    pub elements: Vec<Vec<u8>>,
}

impl Sample {
    /// The elements as the raw form has them.
    pub(super) fn raw(&self) -> Vec<u8> {
        raw(self.dtype, &self.elements)
    }

    /// The tensor, its data in `parts` parts or fewer.
    pub(super) fn tensor(&self, parts: usize) -> Tensor {
        let mut data = Rope::default();
        for elements in self.elements.chunks(self.elements.len().div_ceil(parts).max(1)) {
            data.push(raw(self.dtype, elements).into());
        }
        Tensor::new(self.name.as_str().into(), self.dtype, Shape::new(&self.dims).unwrap(), data).unwrap()
    }

    /// Whether this is what became of the sample.
    pub(super) fn is(&self, tensor: &Tensor) -> bool {
        *tensor == self.tensor(1)
    }
}

fn raw(dtype: DType, elements: &[Vec<u8>]) -> Vec<u8> {
    let mut raw = Vec::new();
    for element in elements {
        match dtype {
            DType::Bytes => strings::push(&mut raw, element).unwrap(),
            _ => raw.extend_from_slice(element),
        }
    }
    raw
}

/// Any tensor of any of these types: every rank up to 5, zero dimensions, all bit patterns.
pub(super) fn sample(dtypes: &'static [DType]) -> impl Strategy<Value = Sample> {
    let dims = prop::collection::vec(prop_oneof![8 => 1..3i64, 2 => Just(3i64), 1 => Just(0i64)], 0..=5);
    ("\\PC{0,9}", select(dtypes), dims).prop_flat_map(|(name, dtype, dims)| {
        let count = dims.iter().product::<i64>() as usize;
        let elements = prop::collection::vec(element(dtype), count);
        elements.prop_map(move |elements| Sample { name: name.clone(), dtype, dims: dims.clone(), elements })
    })
}

fn element(dtype: DType) -> BoxedStrategy<Vec<u8>> {
    match dtype.size() {
        _ if dtype == DType::Bool => (0..2u8).prop_map(|truth| vec![truth]).boxed(),
        Some(size) => prop::collection::vec(any::<u8>(), size).boxed(),
        None => prop::collection::vec(any::<u8>(), 0..6).boxed(),
    }
}

/// A legal model name.
pub(super) fn model_name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,20}"
}

/// An answer of `resnet` version 7.
pub(crate) fn answer(outputs: impl IntoIterator<Item = Tensor>, parameters: Parameters) -> InferResponse {
    let now = Instant::now();
    let load = LoadReport { execution: Duration::from_millis(1), ..LoadReport::default() };
    let (batch, rows, members, device) = (1, 1, 1, "cpu".into());
    let composition = Composition { rows, elements: 1, padding: 0, closed: Close::SlotFree };
    InferResponse {
        model: "resnet".parse().unwrap(),
        version: Version::new(7),
        outputs: outputs.into_iter().collect(),
        parameters,
        rows,
        received: None,
        execution: Execution { batch, composition, members, device, taken: now, merged: now, executed: now, load },
    }
}
