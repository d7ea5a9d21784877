//! What a configuration says of a model beyond our settings: its file, its inputs and outputs, its warm-up. Inputs and
//! outputs are compared with the model once that is loaded, since the model's own are what serves.

use std::path::Path;

use bytestring::ByteString;

use super::TRITON_SETTINGS;
use super::remarks::Remarks;
use super::warmup::{self, Sample};
use crate::error::{Error, Kind, Result};
use crate::models::folder::{Fingerprint, Folder};
use crate::models::repository::MODEL_FILE;
use crate::tensor::{DType, Dim, Shape, Signature, Tensor, TensorSpec};
use crate::wire::proto::inference as proto;

/// What a `config.pbtxt` says beyond settings. A model without one has said nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Declared {
    model_file: Option<String>,
    /// `max_batch_size`: above 0, every tensor has a batch dimension in front that `dims` leave out.
    max_batch: i32,
    inputs: Vec<DeclaredTensor>,
    outputs: Vec<DeclaredTensor>,
    samples: Vec<Sample>,
    /// The state of the files that samples are read from.
    data: Fingerprint,
}

/// One input or output. What is not said is taken from the model.
#[derive(Debug, Clone, PartialEq)]
struct DeclaredTensor {
    name: ByteString,
    dtype: Option<DType>,
    dims: Vec<i64>,
    is_optional: bool,
}

impl Declared {
    pub(super) fn new(config: &proto::ModelConfig, model_file: Option<String>, remarks: &mut Remarks) -> Declared {
        Declared {
            model_file,
            max_batch: config.max_batch_size,
            inputs: config.input.iter().map(|input| input_of(input, remarks)).collect(),
            outputs: config.output.iter().map(|output| output_of(output, remarks)).collect(),
            samples: warmup::samples(config, remarks),
            data: Fingerprint::default(),
        }
    }

    /// Looks at the files that it names.
    pub(super) fn look(&mut self, folder: &Folder, remarks: &mut Remarks) {
        if self.samples.iter().any(Sample::reads_files) {
            self.data = warmup::look(&self.samples, folder, remarks);
        }
    }

    /// The model's file in the folder of a version.
    pub fn model_file(&self) -> &str {
        self.model_file.as_deref().unwrap_or(MODEL_FILE)
    }

    /// Compares it with the model, and says what somebody should know.
    ///
    /// # Errors
    /// `Unloadable`, naming both sides of each contradiction.
    pub fn check(&self, signature: &Signature) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        self.check_tensors("input", &self.inputs, &signature.inputs, &mut wrong);
        self.check_tensors("output", &self.outputs, &signature.outputs, &mut wrong);
        for spec in self.undeclared(&self.inputs, &signature.inputs).filter(|spec| !spec.optional) {
            wrong.push(format!("input {:?} of the model is not declared", spec.name));
        }
        for declared in self.inputs.iter().filter(|declared| declared.is_optional) {
            let required = |spec: &&TensorSpec| spec.name == declared.name && !spec.optional;
            if signature.inputs.iter().any(|spec| required(&spec)) {
                wrong.push(format!("input {:?} is declared optional, and the model needs it", declared.name));
            }
        }
        if wrong.is_empty() {
            let beside = self.undeclared(&self.outputs, &signature.outputs);
            let beside = beside.map(|spec| format!("output {:?} is not declared, and is served as well", spec.name));
            return Ok(beside.map(|advice| format!("{TRITON_SETTINGS}: {advice}")).collect());
        }
        Err(Error::new(Kind::Unloadable, format!("{TRITON_SETTINGS}: {}", wrong.join("; "))))
    }

    /// Calls to run before the model is ready: those that are configured, else one of zeros in the declared shapes where
    /// inputs are declared. None means that nothing is known beyond the signature.
    ///
    /// # Errors
    /// `Unloadable`, where data cannot be read or does not fit the model.
    pub fn samples(&self, folder: &Path, signature: &Signature) -> Result<Vec<Vec<Tensor>>> {
        let told = |error: Error| Error::new(Kind::Unloadable, format!("{TRITON_SETTINGS}: model_warmup: {error}"));
        if self.samples.is_empty() {
            return Ok(self.zeros(signature).map_err(told)?.into_iter().collect());
        }
        warmup::read(&self.samples, folder, signature).map_err(told)
    }

    fn zeros(&self, signature: &Signature) -> Result<Option<Vec<Tensor>>> {
        if self.inputs.is_empty() {
            return Ok(None);
        }
        let required = signature.inputs.iter().filter(|spec| !spec.optional);
        let shapes: Vec<(&TensorSpec, Shape)> =
            required.map(|spec| Ok((spec, self.shape_of(spec)?))).collect::<Result<_>>()?;
        if !warmup::is_affordable(shapes.iter().map(|(spec, shape)| (spec.dtype, shape))) {
            return Ok(None);
        }
        let zeros = shapes.into_iter().map(|(spec, shape)| warmup::zeros(spec.name.clone(), spec.dtype, shape));
        zeros.collect::<Result<_>>().map(Some)
    }

    /// The model's shape, where that leaves a dimension free the declared one, where that does, too, 1.
    fn shape_of(&self, spec: &TensorSpec) -> Result<Shape> {
        let declared = self.inputs.iter().find(|declared| declared.name == spec.name);
        let declared: Vec<i64> = declared.map(|declared| self.full(declared)).unwrap_or_default();
        let dims = spec.dims.iter().enumerate().map(|(index, dim)| match dim {
            Dim::Fixed(size) => *size,
            Dim::Free(_) => declared.get(index).copied().filter(|size| *size >= 0).unwrap_or(1),
        });
        Shape::new(&dims.collect::<Vec<i64>>())
    }

    /// With the batch dimension.
    fn full(&self, declared: &DeclaredTensor) -> Vec<i64> {
        let batch = (self.max_batch > 0).then_some(-1);
        batch.into_iter().chain(declared.dims.iter().copied()).collect()
    }

    fn undeclared<'a>(
        &self,
        declared: &'a [DeclaredTensor],
        specs: &'a [TensorSpec],
    ) -> impl Iterator<Item = &'a TensorSpec> {
        let is_declared = |spec: &TensorSpec| declared.iter().any(|declared| declared.name == spec.name);
        specs.iter().filter(move |spec| !declared.is_empty() && !is_declared(spec))
    }

    fn check_tensors(&self, what: &str, declared: &[DeclaredTensor], specs: &[TensorSpec], wrong: &mut Vec<String>) {
        for tensor in declared {
            let name = &tensor.name;
            match specs.iter().find(|spec| spec.name == *name) {
                Some(spec) => {
                    let objection = self.objection(tensor, spec);
                    wrong.extend(objection.map(|objection| format!("{what} {name:?}: {objection}")));
                }
                None => wrong.push(format!("{what} {name:?} is declared, and the model has none of that name")),
            }
        }
        let unbatched = |spec: &&TensorSpec| !spec.optional && !matches!(spec.dims.first(), Some(Dim::Free(_)));
        if let Some(spec) = specs.iter().find(unbatched).filter(|_| self.max_batch > 0) {
            let (max_batch, name) = (self.max_batch, &spec.name);
            let wants = "allowed is 0 for a model whose first dimension is not free everywhere";
            wrong.push(format!("max_batch_size: found {max_batch}, {wants}, and {what} {name:?} has {spec}"));
        }
    }

    fn objection(&self, declared: &DeclaredTensor, spec: &TensorSpec) -> Option<String> {
        if let Some(dtype) = declared.dtype.filter(|dtype| *dtype != spec.dtype) {
            return Some(format!("{dtype} is declared, and the model has {}", spec.dtype));
        }
        let full = self.full(declared);
        let fits = |(dim, size): (&Dim, &i64)| !matches!(dim, Dim::Fixed(fixed) if fixed != size);
        let agrees = full.len() == spec.dims.len() && spec.dims.iter().zip(&full).all(fits);
        let behind = if self.max_batch > 0 { " behind the batch dimension" } else { "" };
        (!agrees && !declared.dims.is_empty())
            .then(|| format!("dims {:?} are declared{behind}, and the model has {spec}", declared.dims))
    }
}

fn input_of(input: &proto::ModelInput, remarks: &mut Remarks) -> DeclaredTensor {
    let field = format!("input {:?}", input.name);
    for (there, what) in [
        (input.reshape.is_some(), "reshape"),
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
        is_optional: input.optional,
    }
}

fn output_of(output: &proto::ModelOutput, remarks: &mut Remarks) -> DeclaredTensor {
    let field = format!("output {:?}", output.name);
    for (there, what) in [
        (output.reshape.is_some(), "reshape"),
        (output.is_shape_tensor, "is_shape_tensor"),
        (output.is_non_linear_format_io, "is_non_linear_format_io"),
    ] {
        unserved(there, &field, what, remarks);
    }
    DeclaredTensor {
        name: (&*output.name).into(),
        dtype: dtype(output.data_type, &field, remarks),
        dims: dims(&output.dims, &field, remarks),
        is_optional: false,
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
