//! How calls of a model are put together, as a backend tells it in its ModelConfig by the parameters that a worker
//! publishes there: `infergate.batch_axis`, `infergate.dims`, `infergate.max_batch`. Where anything of it is missing or
//! makes no sense the calls are not put together.

use std::collections::HashMap;
use std::sync::Arc;

use bytestring::ByteString;
use serde_json::Value;

use crate::infer::InferRequest;
use crate::tensor::{BatchAxis, DType, Dim, Signature, TensorSpec};
use crate::wire::proto::inference as proto;

/// Rows of a batch are not believed beyond this.
const MOST_ROWS: usize = 1 << 16;

/// What calls of a model look like, and along which dimension they are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mergeable {
    /// What it takes and gives.
    pub signature: Arc<Signature>,
    /// Where each of its tensors has its rows.
    pub axis: BatchAxis,
    /// Rows of the largest batch, at least 2.
    pub max_batch: usize,
}

impl Mergeable {
    /// What a backend says; `None` where its calls are not to be put together, as far as it says.
    pub fn of(config: &proto::ModelConfig) -> Option<Mergeable> {
        let said = |key: &str| config.parameters.get(key).map(|parameter| parameter.string_value.as_str());
        let max_batch = said("infergate.max_batch")?.parse().ok().filter(|rows| (2..=MOST_ROWS).contains(rows))?;
        let axis = said("infergate.batch_axis")?;
        let dims: HashMap<String, HashMap<String, Vec<Value>>> = serde_json::from_str(said("infergate.dims")?).ok()?;
        let inputs = config.input.iter().map(|input| (&input.name, input.data_type(), input.optional));
        let outputs = config.output.iter().map(|output| (&output.name, output.data_type(), false));
        let signature =
            Signature { inputs: specs(inputs, dims.get("inputs")?)?, outputs: specs(outputs, dims.get("outputs")?)? };
        let axis = BatchAxis::find(&signature, Some(axis), true).ok()?;
        Some(Mergeable { signature: Arc::new(signature), axis, max_batch })
    }

    /// Whether a call may wait with others: it looks as calls do, and wants tensors and not classes, which backends make
    /// of whole batches.
    pub(super) fn takes(&self, request: &InferRequest) -> bool {
        request.outputs.iter().all(|wanted| wanted.classes.is_none())
            && self.signature.check_inputs(&request.inputs).is_ok()
            && self.signature.check_outputs(request.outputs.iter().map(|wanted| &wanted.name)).is_ok()
    }
}

fn specs<'a>(
    told: impl Iterator<Item = (&'a String, proto::DataType, bool)>,
    dims: &HashMap<String, Vec<Value>>,
) -> Option<Vec<TensorSpec>> {
    let spec = |(name, data_type, optional): (&'a String, proto::DataType, bool)| {
        let dims = dims.get(name)?.iter().map(dim).collect::<Option<_>>()?;
        Some(TensorSpec { name: name.as_str().into(), dtype: dtype(data_type)?, dims, optional })
    };
    told.map(spec).collect()
}

fn dim(told: &Value) -> Option<Dim> {
    match told {
        Value::String(symbol) => Some(Dim::Free(Some(ByteString::from(symbol.as_str())))),
        Value::Number(size) => match size.as_i64()? {
            -1 => Some(Dim::Free(None)),
            size => (size >= 0).then_some(Dim::Fixed(size)),
        },
        _ => None,
    }
}

fn dtype(told: proto::DataType) -> Option<DType> {
    use proto::DataType::*;
    Some(match told {
        TypeBool => DType::Bool,
        TypeUint8 => DType::Uint8,
        TypeUint16 => DType::Uint16,
        TypeUint32 => DType::Uint32,
        TypeUint64 => DType::Uint64,
        TypeInt8 => DType::Int8,
        TypeInt16 => DType::Int16,
        TypeInt32 => DType::Int32,
        TypeInt64 => DType::Int64,
        TypeFp16 => DType::Fp16,
        TypeBf16 => DType::Bf16,
        TypeFp32 => DType::Fp32,
        TypeFp64 => DType::Fp64,
        TypeString => DType::Bytes,
        TypeInvalid => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMS: &str = r#"{"inputs":{"x":["batch",3]},"outputs":{"y":["batch",-1]}}"#;

    fn config(parameters: &[(&str, &str)]) -> proto::ModelConfig {
        let parameter = |(name, value): &(&str, &str)| {
            (format!("infergate.{name}"), proto::ModelParameter { string_value: (*value).to_owned() })
        };
        let data_type = proto::DataType::TypeFp32.into();
        proto::ModelConfig {
            input: vec![proto::ModelInput { name: "x".to_owned(), data_type, ..Default::default() }],
            output: vec![proto::ModelOutput { name: "y".to_owned(), data_type, ..Default::default() }],
            parameters: parameters.iter().map(parameter).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn what_a_worker_publishes_is_what_its_calls_are_put_together_by() {
        let told = config(&[("max_batch", "16"), ("batch_axis", "batch"), ("dims", DIMS)]);
        let mergeable = Mergeable::of(&told).unwrap();
        assert_eq!((mergeable.max_batch, mergeable.axis.inputs(), mergeable.axis.outputs()), (16, &[0][..], &[0][..]));
        assert_eq!(mergeable.signature.inputs[0].to_string(), "[batch,3]");
        assert_eq!(mergeable.signature.outputs[0].to_string(), "[batch,-1]");
    }

    #[test]
    fn where_anything_is_missing_or_makes_no_sense_calls_are_not_put_together() {
        let all = [("max_batch", "16"), ("batch_axis", "batch"), ("dims", DIMS)];
        for (missing, _) in all {
            let rest: Vec<(&str, &str)> = all.into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(Mergeable::of(&config(&rest)), None, "{missing}");
        }
        for (name, value) in [
            ("max_batch", "1"),
            ("max_batch", "99999999999"),
            ("batch_axis", "rows"),
            ("dims", "{}"),
            ("dims", r#"{"inputs":{"x":["batch",3]},"outputs":{}}"#),
            ("dims", r#"{"inputs":{"x":["batch",-3]},"outputs":{"y":["batch"]}}"#),
            ("dims", r#"{"inputs":{"x":[null]},"outputs":{"y":["batch"]}}"#),
        ] {
            let changed = all.map(|(known, usual)| if known == name { (name, value) } else { (known, usual) });
            assert_eq!(Mergeable::of(&config(&changed)), None, "{name} = {value}");
        }
    }
}
