//! What a model takes and gives, as its server tells it.

use crate::cli::client::{Client, ServerArgs};
use crate::cli::failure::Failure;
use crate::cli::table::plain;
use crate::tensor::{DType, Dim, Signature, TensorSpec};
use crate::wire::proto::inference::model_metadata_response::TensorMetadata;
use crate::wire::proto::inference::{ModelMetadataRequest, ModelMetadataResponse};

/// Asks the server for a model's signature. An empty version leaves the choice to the server.
///
/// # Errors
/// A failure where the server refuses, or a type is not one of the protocol's.
pub async fn ask(server: &ServerArgs, client: &mut Client, name: &str, version: &str) -> Result<Signature, Failure> {
    let request = ModelMetadataRequest { name: name.to_owned(), version: version.to_owned() };
    let metadata = client.model_metadata(server.request(request)).await.map_err(|status| server.refused(&status))?;
    signature(metadata.get_ref())
}

/// The signature in a model's metadata. Nothing there says which inputs may be left out, so that all may be here and
/// the server decides. Where every tensor leaves its first dimension free, that dimension is called `batch`.
///
/// # Errors
/// A failure where a type is not one of the protocol's.
pub fn signature(metadata: &ModelMetadataResponse) -> Result<Signature, Failure> {
    let free = |tensor: &TensorMetadata| tensor.shape.first().is_some_and(|dim| *dim < 0);
    let batched = !metadata.outputs.is_empty() && metadata.inputs.iter().chain(&metadata.outputs).all(free);
    let specs = |tensors: &[TensorMetadata]| -> Result<Vec<TensorSpec>, Failure> {
        tensors.iter().map(|tensor| spec(tensor, batched)).collect()
    };
    Ok(Signature { inputs: specs(&metadata.inputs)?, outputs: specs(&metadata.outputs)? })
}

fn spec(tensor: &TensorMetadata, batched: bool) -> Result<TensorSpec, Failure> {
    let dtype = DType::from_name(&tensor.datatype).ok_or_else(|| {
        let (name, datatype) = (&tensor.name, &tensor.datatype);
        Failure::failed(format_args!(
            "the model's tensor {name:?} has the datatype {datatype:?}, which is not known here"
        ))
    })?;
    let mut dims: Vec<Dim> =
        tensor.shape.iter().map(|dim| if *dim < 0 { Dim::Free(None) } else { Dim::Fixed(*dim) }).collect();
    if batched {
        dims[0] = Dim::Free(Some("batch".into()));
    }
    Ok(TensorSpec { name: tensor.name.as_str().into(), dtype, dims, optional: true })
}

/// The names of some tensors for a sentence.
pub fn names(specs: &[TensorSpec]) -> String {
    let names: Vec<String> = specs.iter().map(|spec| plain(&spec.name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, datatype: &str, shape: &[i64]) -> TensorMetadata {
        TensorMetadata { name: name.into(), datatype: datatype.into(), shape: shape.to_vec() }
    }

    fn metadata(inputs: Vec<TensorMetadata>, outputs: Vec<TensorMetadata>) -> ModelMetadataResponse {
        ModelMetadataResponse { inputs, outputs, ..Default::default() }
    }

    #[test]
    fn a_first_dimension_that_every_tensor_leaves_free_is_the_batch() {
        let both = metadata(vec![tensor("x", "FP32", &[-1, 8])], vec![tensor("y", "INT64", &[-1, -1])]);
        let both = signature(&both).unwrap();
        assert_eq!(both.inputs[0].to_string(), "[batch,8]");
        assert_eq!(both.outputs[0].to_string(), "[batch,-1]");
        let one = metadata(vec![tensor("x", "FP32", &[-1])], vec![tensor("y", "FP32", &[])]);
        assert_eq!(signature(&one).unwrap().inputs[0].to_string(), "[-1]");
    }

    #[test]
    fn a_type_that_is_not_known_is_named() {
        let failure = signature(&metadata(vec![tensor("x", "FP8", &[1])], vec![])).unwrap_err();
        assert_eq!(failure.to_string(), "the model's tensor \"x\" has the datatype \"FP8\", which is not known here");
    }
}
