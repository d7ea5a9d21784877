//! What a configuration says of one input or output.

use bytestring::ByteString;

use super::remarks::Remarks;
use crate::models::reshape::disagreement;
use crate::tensor::{DType, Dim, TensorSpec};
use crate::wire::proto::inference as proto;

/// One input or output. What is not said is taken from the model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeclaredTensor {
    pub(super) name: ByteString,
    dtype: Option<DType>,
    /// As callers have it.
    dims: Vec<i64>,
    /// As the model has it, where that is another shape of the same elements.
    reshape: Option<Vec<i64>>,
    pub(super) is_optional: bool,
}

impl DeclaredTensor {
    pub(super) fn input(input: &proto::ModelInput, max_batch: i32, remarks: &mut Remarks) -> DeclaredTensor {
        let field = format!("input {:?}", input.name);
        for (there, what) in [
            (input.is_shape_tensor, "is_shape_tensor"),
            (input.allow_ragged_batch, "allow_ragged_batch"),
            (input.is_non_linear_format_io, "is_non_linear_format_io"),
        ] {
            unserved(there, &field, what, remarks);
        }
        DeclaredTensor {
            name: (&*input.name).into(),
            dtype: dtype(input.data_type, &field, remarks),
            dims: dims(&input.dims, &field, remarks),
            reshape: reshape(input.reshape.as_ref(), &input.dims, max_batch, &field, remarks),
            is_optional: input.optional,
        }
    }

    pub(super) fn output(output: &proto::ModelOutput, max_batch: i32, remarks: &mut Remarks) -> DeclaredTensor {
        let field = format!("output {:?}", output.name);
        for (there, what) in
            [(output.is_shape_tensor, "is_shape_tensor"), (output.is_non_linear_format_io, "is_non_linear_format_io")]
        {
            unserved(there, &field, what, remarks);
        }
        DeclaredTensor {
            name: (&*output.name).into(),
            dtype: dtype(output.data_type, &field, remarks),
            dims: dims(&output.dims, &field, remarks),
            reshape: reshape(output.reshape.as_ref(), &output.dims, max_batch, &field, remarks),
            is_optional: false,
        }
    }

    /// As the model has it, -1 for any size, with the batch dimension.
    pub(super) fn own(&self, max_batch: i32) -> Vec<i64> {
        full(max_batch, self.reshape.as_ref().unwrap_or(&self.dims))
    }

    /// As callers see it and as the model has it, likewise, where the two differ.
    pub(super) fn reshape(&self, max_batch: i32) -> Option<(Vec<i64>, Vec<i64>)> {
        self.reshape.as_ref().map(|own| (full(max_batch, &self.dims), full(max_batch, own)))
    }

    /// Why the model contradicts it.
    pub(super) fn objection(&self, spec: &TensorSpec, max_batch: i32) -> Option<String> {
        if let Some(dtype) = self.dtype.filter(|dtype| *dtype != spec.dtype) {
            return Some(format!("{dtype} is declared, and the model has {}", spec.dtype));
        }
        let full = self.own(max_batch);
        let fits = |(dim, size): (&Dim, &i64)| !matches!(dim, Dim::Fixed(fixed) if fixed != size);
        let agrees = full.len() == spec.dims.len() && spec.dims.iter().zip(&full).all(fits);
        let behind = if max_batch > 0 { " behind the batch dimension" } else { "" };
        let told = || match &self.reshape {
            Some(shape) => format!("reshape {shape:?} is declared{behind}, and the model has {spec}"),
            None => format!("dims {:?} are declared{behind}, and the model has {spec}", self.dims),
        };
        (!agrees && !self.dims.is_empty()).then(told)
    }
}

fn unserved(there: bool, field: &str, what: &str, remarks: &mut Remarks) {
    if there {
        remarks.refuse(&format!("{field} {what}"), "tensors are served as the model has them");
    }
}

/// The type of a declaration; `None` where it says none.
pub(super) fn dtype(number: i32, field: &str, remarks: &mut Remarks) -> Option<DType> {
    use proto::DataType::*;
    match proto::DataType::try_from(number) {
        Ok(TypeInvalid) => None,
        Ok(TypeBool) => Some(DType::Bool),
        Ok(TypeUint8) => Some(DType::Uint8),
        Ok(TypeUint16) => Some(DType::Uint16),
        Ok(TypeUint32) => Some(DType::Uint32),
        Ok(TypeUint64) => Some(DType::Uint64),
        Ok(TypeInt8) => Some(DType::Int8),
        Ok(TypeInt16) => Some(DType::Int16),
        Ok(TypeInt32) => Some(DType::Int32),
        Ok(TypeInt64) => Some(DType::Int64),
        Ok(TypeFp16) => Some(DType::Fp16),
        Ok(TypeFp32) => Some(DType::Fp32),
        Ok(TypeFp64) => Some(DType::Fp64),
        Ok(TypeString) => Some(DType::Bytes),
        Ok(TypeBf16) => Some(DType::Bf16),
        Err(_) => {
            remarks.refuse(&format!("{field} data_type"), format!("found {number}, which is no type"));
            None
        }
    }
}

fn dims(dims: &[i64], field: &str, remarks: &mut Remarks) -> Vec<i64> {
    if let Some(dim) = dims.iter().find(|dim| **dim < -1) {
        remarks.refuse(&format!("{field} dims"), format!("found {dim}, allowed is -1 or more"));
    }
    dims.to_vec()
}

/// The model's own shape, which has the elements of `dims`; `None` where it is not told or refused.
fn reshape(
    reshape: Option<&proto::ModelTensorReshape>,
    shown: &[i64],
    max_batch: i32,
    field: &str,
    remarks: &mut Remarks,
) -> Option<Vec<i64>> {
    let own = &reshape?.shape;
    let field = format!("{field} reshape");
    // Negative dims have had their remark.
    if dims(own, &field, remarks).iter().chain(shown).any(|dim| *dim < -1) {
        return None;
    }
    let wrong = match shown {
        [] => Some("dims are missing".to_owned()),
        _ => disagreement(&full(max_batch, shown), &full(max_batch, own)),
    };
    if let Some(wrong) = wrong {
        remarks.refuse(&field, format!("found {own:?} for dims {shown:?}: {wrong}"));
        return None;
    }
    Some(own.clone())
}

/// With the batch dimension.
fn full(max_batch: i32, dims: &[i64]) -> Vec<i64> {
    let batch = (max_batch > 0).then_some(-1);
    batch.into_iter().chain(dims.iter().copied()).collect()
}
