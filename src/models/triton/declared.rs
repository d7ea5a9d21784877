//! What a configuration says of a model beyond our settings: its file, its inputs and outputs, its warm-up. Inputs and
//! outputs are compared with the model once that is loaded, since the model's own are what serves.

use std::path::Path;

use bytestring::ByteString;

use super::TRITON_SETTINGS;
use super::remarks::Remarks;
use super::tensor::DeclaredTensor;
use super::warmup::{self, Sample};
use crate::error::{Error, Kind, Result};
use crate::models::folder::{Fingerprint, Folder};
use crate::models::repository::MODEL_FILE;
use crate::models::reshape::Reshapes;
use crate::tensor::{Dim, Shape, Signature, Tensor, TensorSpec};
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

impl Declared {
    pub(super) fn new(config: &proto::ModelConfig, model_file: Option<String>, remarks: &mut Remarks) -> Declared {
        Declared {
            model_file,
            max_batch: config.max_batch_size,
            inputs: config
                .input
                .iter()
                .map(|input| DeclaredTensor::input(input, config.max_batch_size, remarks))
                .collect(),
            outputs: config
                .output
                .iter()
                .map(|output| DeclaredTensor::output(output, config.max_batch_size, remarks))
                .collect(),
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

    /// Compares it with the model.
    ///
    /// # Errors
    /// `Unloadable`, naming both sides of each contradiction.
    pub fn check(&self, signature: &Signature) -> Result<()> {
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
            return Ok(());
        }
        Err(Error::new(Kind::Unloadable, format!("{TRITON_SETTINGS}: {}", wrong.join("; "))))
    }

    /// What somebody should know of a model that was checked, a sentence each.
    pub fn beside(&self, signature: &Signature) -> Vec<String> {
        let told = |spec: &TensorSpec| {
            format!("{TRITON_SETTINGS}: output {:?} is not declared, and is served as well", spec.name)
        };
        self.undeclared(&self.outputs, &signature.outputs).map(told).collect()
    }

    /// What callers see in another shape than the model has, which was checked.
    pub fn reshapes(&self, signature: &Signature) -> Reshapes {
        let mut reshapes = Reshapes::default();
        for spec in &signature.inputs {
            if let Some((shown, own)) = self.reshape(&self.inputs, &spec.name) {
                reshapes.input(spec, &shown, &own);
            }
        }
        for spec in &signature.outputs {
            if let Some((shown, own)) = self.reshape(&self.outputs, &spec.name) {
                reshapes.output(spec, &shown, &own);
            }
        }
        reshapes
    }

    /// The model's own shape of an input that callers see in another, -1 for any size, with the batch dimension.
    pub fn input_reshape(&self, name: &ByteString) -> Option<Vec<i64>> {
        self.reshape(&self.inputs, name).map(|(_, own)| own)
    }

    /// The same of an output.
    pub fn output_reshape(&self, name: &ByteString) -> Option<Vec<i64>> {
        self.reshape(&self.outputs, name).map(|(_, own)| own)
    }

    fn reshape(&self, declared: &[DeclaredTensor], name: &ByteString) -> Option<(Vec<i64>, Vec<i64>)> {
        declared.iter().find(|declared| declared.name == *name)?.reshape(self.max_batch)
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
        warmup::read(&self.samples, folder, signature, &self.reshapes(signature)).map_err(told)
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
        let declared: Vec<i64> = declared.map(|declared| declared.own(self.max_batch)).unwrap_or_default();
        let dims = spec.dims.iter().enumerate().map(|(index, dim)| match dim {
            Dim::Fixed(size) => *size,
            Dim::Free(_) => declared.get(index).copied().filter(|size| *size >= 0).unwrap_or(1),
        });
        Shape::new(&dims.collect::<Vec<i64>>())
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
                    let objection = tensor.objection(spec, self.max_batch);
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
}
