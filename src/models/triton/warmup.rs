//! `model_warmup`: calls that each instance runs before its model is ready. Samples are described when a configuration
//! is read, and become tensors only when a version is loaded.

use std::io::Read;
use std::path::Path;

use bytestring::ByteString;
use half::{bf16, f16};

use super::remarks::Remarks;
use super::tensor::dtype;
use crate::error::{Error, Result};
use crate::models::folder::{Fingerprint, Folder};
use crate::models::reshape::Reshapes;
use crate::tensor::{DType, Shape, Signature, Tensor, strings};
use crate::wire::proto::inference as proto;
use proto::model_warmup::Input;
use proto::model_warmup::input::InputDataType;

/// The folder of data files, beside the versions.
const DATA: &str = "warmup";
/// All samples of one model: they are in memory at one time.
const LARGEST: usize = 1 << 30;
/// A file of strings, whose size no shape tells.
const LARGEST_STRINGS: u64 = 64 << 20;
/// Runs of all samples; more would keep a model from ever being ready.
const MOST_RUNS: u32 = 1000;

/// One call, and how often it is run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    name: String,
    runs: usize,
    inputs: Vec<SampleInput>,
}

/// One input: so many times the same row.
#[derive(Debug, Clone, PartialEq)]
struct SampleInput {
    name: ByteString,
    dtype: DType,
    /// With the rows in front, where the model has a batch dimension.
    shape: Shape,
    rows: usize,
    content: Content,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Zeros,
    Random,
    /// A file in the folder of data files.
    File(String),
}

impl Sample {
    pub(super) fn reads_files(&self) -> bool {
        self.inputs.iter().any(|input| matches!(input.content, Content::File(_)))
    }
}

/// What the configuration asks for.
pub(super) fn samples(config: &proto::ModelConfig, remarks: &mut Remarks) -> Vec<Sample> {
    let samples = config.model_warmup.iter().filter_map(|warmup| sample(warmup, config.max_batch_size, remarks));
    let samples: Vec<Sample> = samples.collect();
    let runs = samples.iter().fold(0usize, |runs, sample| runs.saturating_add(sample.runs));
    if runs > MOST_RUNS as usize {
        remarks.refuse("model_warmup.count", format!("found {runs} runs, allowed is {MOST_RUNS} for all samples"));
    }
    let inputs = samples.iter().flat_map(|sample| &sample.inputs);
    if !is_affordable(inputs.map(|input| (input.dtype, &input.shape))) {
        remarks.refuse("model_warmup", format!("samples of more than {LARGEST} bytes"));
    }
    samples
}

fn sample(warmup: &proto::ModelWarmup, max_batch: i32, remarks: &mut Remarks) -> Option<Sample> {
    let field = format!("model_warmup {:?}", warmup.name);
    if warmup.batch_size == 0 {
        remarks.ignore(&field, "its batch_size is 0");
        return None;
    }
    let most = u32::try_from(max_batch).unwrap_or(0).max(1);
    if warmup.batch_size > most {
        let found = format!("found {}, allowed is 1 to {most}", warmup.batch_size);
        remarks.refuse(&format!("{field} batch_size"), found);
        return None;
    }
    let mut inputs: Vec<(&String, &Input)> = warmup.inputs.iter().collect();
    inputs.sort_by_key(|(name, _)| *name);
    let rows = (max_batch > 0).then_some(warmup.batch_size);
    let inputs = inputs.into_iter().map(|(name, input)| sample_input(&field, name, input, rows, remarks));
    // All of them are looked at before one that is wrong ends it.
    let inputs: Vec<Option<SampleInput>> = inputs.collect();
    let inputs = inputs.into_iter().collect::<Option<_>>()?;
    Some(Sample { name: warmup.name.clone(), runs: warmup.count.max(1) as usize, inputs })
}

fn sample_input(
    field: &str,
    name: &str,
    input: &Input,
    rows: Option<u32>,
    remarks: &mut Remarks,
) -> Option<SampleInput> {
    let field = format!("{field} input {name:?}");
    let dtype = dtype(input.data_type, &field, remarks);
    if dtype.is_none() {
        remarks.refuse(&format!("{field} data_type"), "is missing");
    }
    let dims: Vec<i64> = rows.into_iter().map(i64::from).chain(input.dims.iter().copied()).collect();
    let shape = Shape::new(&dims).map_err(|error| remarks.refuse(&format!("{field} dims"), error.message())).ok();
    let content = match &input.input_data_type {
        Some(InputDataType::ZeroData(_)) => Some(Content::Zeros),
        Some(InputDataType::RandomData(_)) => Some(Content::Random),
        Some(InputDataType::InputDataFile(file)) => Some(Content::File(file.clone())),
        None => {
            remarks.refuse(&field, "found none of zero_data, random_data and input_data_file");
            None
        }
    };
    let rows = rows.unwrap_or(1) as usize;
    Some(SampleInput { name: name.into(), dtype: dtype?, shape: shape?, rows, content: content? })
}

/// Whether tensors of these types and shapes may be in memory at one time.
pub(super) fn is_affordable<'a>(mut tensors: impl Iterator<Item = (DType, &'a Shape)>) -> bool {
    let size = |dtype: DType, shape: &Shape| shape.elements().checked_mul(dtype.size().unwrap_or(strings::PREFIX));
    let sum = tensors.try_fold(0usize, |sum, (dtype, shape)| sum.checked_add(size(dtype, shape)?));
    sum.is_some_and(|sum| sum <= LARGEST)
}

/// Looks at the data files, without reading them: whether each is there and long enough.
pub(super) fn look(samples: &[Sample], folder: &Folder, remarks: &mut Remarks) -> Fingerprint {
    let data = match folder.folder(DATA) {
        Ok(data) => data,
        Err(error) => {
            remarks.refuse("model_warmup", format!("folder {DATA:?}: {error}"));
            return Fingerprint::default();
        }
    };
    for (sample, input) in samples.iter().flat_map(|sample| sample.inputs.iter().map(move |input| (sample, input))) {
        let Content::File(file) = &input.content else { continue };
        let objection = match data.file(Path::new(file)).and_then(|(_, opened)| opened.metadata()) {
            Ok(metadata) => input.row_size().and_then(|size| shorter(metadata.len(), size)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(objection) = objection {
            let field = format!("model_warmup {:?} input {:?} input_data_file", sample.name, input.name);
            remarks.refuse(&field, format!("file {file:?}: {objection}"));
        }
    }
    data.fingerprint().unwrap_or_default()
}

fn shorter(found: u64, size: usize) -> Option<String> {
    (found < size as u64).then(|| format!("has {found} bytes, a row takes {size}"))
}

/// The samples as calls of the model, each as often as it is run. They are written in the shapes of callers.
pub(super) fn read(
    samples: &[Sample],
    folder: &Path,
    signature: &Signature,
    reshapes: &Reshapes,
) -> Result<Vec<Vec<Tensor>>> {
    let files = samples.iter().any(Sample::reads_files);
    let data = files.then(|| Folder::open(folder).and_then(|folder| folder.folder(DATA))).transpose();
    let data = data.map_err(|error| Error::invalid(format!("folder {DATA:?}: {error}")))?;
    let mut calls = Vec::new();
    for sample in samples {
        let call = sample.inputs.iter().map(|input| input.tensor(data.as_ref())).collect::<Result<Vec<Tensor>>>();
        let call = call.and_then(|mut call| {
            reshapes.take(&mut call)?;
            signature.check_inputs(&call)?;
            Ok(call)
        });
        let call = call.map_err(|error| error.within(format_args!("sample {:?}", sample.name)))?;
        calls.extend(std::iter::repeat_n(call, sample.runs));
    }
    Ok(calls)
}

impl SampleInput {
    /// Bytes of one row; `None` for strings, whose lengths differ.
    fn row_size(&self) -> Option<usize> {
        Some(self.shape.elements() / self.rows * self.dtype.size()?)
    }

    fn tensor(&self, data: Option<&Folder>) -> Result<Tensor> {
        let (name, shape) = (self.name.clone(), self.shape.clone());
        match (&self.content, data) {
            (Content::File(file), Some(data)) => {
                let row = self.row(file, data).map_err(|error| Error::invalid(format!("file {file:?}: {error}")))?;
                Tensor::new(name, self.dtype, shape, row.repeat(self.rows).into()).map(Tensor::laid_out)
            }
            (Content::Random, _) if self.dtype != DType::Bytes => {
                let data = random(self.dtype, shape.elements());
                Tensor::new(name, self.dtype, shape, data.into()).map(Tensor::laid_out)
            }
            _ => zeros(name, self.dtype, shape),
        }
    }

    /// The bytes of one row. Of a longer file the first ones, as Triton has it.
    fn row(&self, file: &str, data: &Folder) -> std::io::Result<Vec<u8>> {
        let (_, file) = data.file(Path::new(file))?;
        let mut row = Vec::new();
        match self.row_size() {
            Some(size) => file.take(size as u64).read_to_end(&mut row)?,
            None => file.take(LARGEST_STRINGS / self.rows as u64).read_to_end(&mut row)?,
        };
        Ok(row)
    }
}

/// Zeros, or empty strings.
pub(super) fn zeros(name: ByteString, dtype: DType, shape: Shape) -> Result<Tensor> {
    // The length before an empty string is four zeros, so that zeros are right for every type.
    let data = vec![0u8; shape.elements() * dtype.size().unwrap_or(strings::PREFIX)];
    Tensor::new(name, dtype, shape, data.into()).map(Tensor::laid_out)
}

/// Numbers that a model is likely to take, always the same: from 0 to 1, and 0 or 1 where there are no fractions, which
/// are an index in any table.
fn random(dtype: DType, elements: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(0);
    let mut data = Vec::with_capacity(elements * dtype.size().unwrap_or_default());
    for _ in 0..elements {
        match dtype {
            DType::Fp16 => data.extend_from_slice(&f16::from_f32(random.f32()).to_le_bytes()),
            DType::Bf16 => data.extend_from_slice(&bf16::from_f32(random.f32()).to_le_bytes()),
            DType::Fp32 => data.extend_from_slice(&random.f32().to_le_bytes()),
            DType::Fp64 => data.extend_from_slice(&random.f64().to_le_bytes()),
            _ => {
                let mut element = [0; 8];
                element[0] = u8::from(random.bool());
                data.extend_from_slice(&element[..dtype.size().unwrap_or_default()]);
            }
        }
    }
    data
}
