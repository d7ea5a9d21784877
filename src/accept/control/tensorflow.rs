//! TensorFlow Serving's questions about models.

use prost::Message;
use tonic::{Request, Response, Status};

use super::Directory;
use crate::accept::generated::serving::model_service_server::ModelService;
use crate::accept::generated::serving::prediction_service_server::PredictionService;
use crate::accept::questions::question;
use crate::error::Error;
use crate::infer::{ModelName, Target, Version, VersionChoice};
use crate::models::{IndexEntry, VersionState};
use crate::tensor::TensorSpec;
use crate::wire::proto::tensorflow as tf;
use crate::wire::proto::tensorflow::serving as proto;
use crate::wire::tfs::{SIGNATURE, data_type};
use proto::model_spec::VersionChoice as WireVersion;

/// The only field of metadata that there is.
const SIGNATURE_DEF: &str = "signature_def";

/// Answers everything of the protocol but Predict.
#[derive(Clone)]
pub struct TensorFlowControl<D: Directory> {
    /// What is known of models.
    pub directory: D,
}

fn target(spec: Option<proto::ModelSpec>) -> Result<Target, Status> {
    let spec = spec.ok_or_else(|| Error::invalid("model_spec is missing"))?;
    let name = ModelName::new(spec.name.into())?;
    let version = match spec.version_choice {
        None => VersionChoice::Latest,
        Some(WireVersion::VersionLabel(label)) => VersionChoice::Label(label.into()),
        Some(WireVersion::Version(number)) => {
            let version = u64::try_from(number).ok().and_then(Version::new);
            VersionChoice::Exact(version.ok_or_else(|| Error::invalid(format!("model version {number} is negative")))?)
        }
    };
    Ok(Target { name, version })
}

fn tensor_info(spec: &TensorSpec) -> (String, tf::TensorInfo) {
    let dim = |dim: &crate::tensor::Dim| tf::tensor_shape_proto::Dim { size: dim.wire(), name: String::new() };
    let shape = tf::TensorShapeProto { dim: spec.dims.iter().map(dim).collect(), unknown_rank: false };
    let info = tf::TensorInfo {
        dtype: data_type(spec.dtype),
        tensor_shape: Some(shape),
        encoding: Some(tf::tensor_info::Encoding::Name(spec.name.to_string())),
    };
    (spec.name.to_string(), info)
}

#[tonic::async_trait]
impl<D: Directory> PredictionService for TensorFlowControl<D> {
    async fn get_model_metadata(
        &self,
        request: Request<proto::GetModelMetadataRequest>,
    ) -> Result<Response<proto::GetModelMetadataResponse>, Status> {
        let by = question(&request);
        let proto::GetModelMetadataRequest { model_spec, metadata_field } = request.into_inner();
        let model = self.directory.describe(&target(model_spec)?, by.as_deref()).await?;
        if metadata_field.is_empty() || metadata_field.iter().any(|field| field != SIGNATURE_DEF) {
            return Err(Error::invalid("metadata_field must be \"signature_def\"").into());
        }
        let signature = tf::SignatureDef {
            inputs: model.signature.inputs.iter().map(tensor_info).collect(),
            outputs: model.signature.outputs.iter().map(tensor_info).collect(),
            method_name: "tensorflow/serving/predict".to_owned(),
            ..Default::default()
        };
        let map = proto::SignatureDefMap { signature_def: [(SIGNATURE.to_owned(), signature)].into() };
        let any = prost_types::Any {
            type_url: "type.googleapis.com/tensorflow.serving.SignatureDefMap".to_owned(),
            value: map.encode_to_vec(),
        };
        let spec = proto::ModelSpec {
            name: model.name.to_string(),
            version_choice: model.version.map(|version| WireVersion::Version(version.number())),
            ..Default::default()
        };
        let metadata = [(SIGNATURE_DEF.to_owned(), any)].into();
        Ok(Response::new(proto::GetModelMetadataResponse { model_spec: Some(spec), metadata }))
    }
}

fn status(entry: IndexEntry) -> Option<proto::ModelVersionStatus> {
    use proto::model_version_status::State;
    let state = match entry.state {
        VersionState::Loading => State::Loading,
        VersionState::Ready => State::Available,
        VersionState::Unavailable => State::End,
    };
    // A later version that failed leaves its reason at one that serves; to this protocol that one is simply well.
    let failed = entry.state == VersionState::Unavailable;
    let error_code = if failed { tf::error::Code::Unavailable } else { tf::error::Code::Ok };
    let error_message = if failed { entry.reason.to_string() } else { String::new() };
    Some(proto::ModelVersionStatus {
        version: entry.version?.number(),
        state: state.into(),
        status: Some(proto::StatusProto { error_code: error_code.into(), error_message }),
    })
}

#[tonic::async_trait]
impl<D: Directory> ModelService for TensorFlowControl<D> {
    async fn get_model_status(
        &self,
        request: Request<proto::GetModelStatusRequest>,
    ) -> Result<Response<proto::GetModelStatusResponse>, Status> {
        let by = question(&request);
        let target = target(request.into_inner().model_spec)?;
        let wanted = match &target.version {
            VersionChoice::Latest => None,
            VersionChoice::Exact(version) => Some(*version),
            VersionChoice::Label(_) => self.directory.describe(&target, by.as_deref()).await?.version,
        };
        let entries = self.directory.index().await?.into_iter().filter(|entry| entry.name == target.name);
        let entries = entries.filter(|entry| wanted.is_none() || entry.version == wanted);
        let model_version_status: Vec<_> = entries.filter_map(status).collect();
        if model_version_status.is_empty() {
            // A model without a version, or none: the directory says which.
            self.directory.serves(&target)?;
        }
        Ok(Response::new(proto::GetModelStatusResponse { model_version_status }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::control::fixture::Hearsay;

    fn spec(name: &str, version_choice: Option<WireVersion>) -> Option<proto::ModelSpec> {
        Some(proto::ModelSpec { name: name.to_owned(), version_choice, ..Default::default() })
    }

    fn label(label: &str) -> Option<WireVersion> {
        Some(WireVersion::VersionLabel(label.to_owned()))
    }

    #[tokio::test]
    async fn metadata_tell_the_version_that_is_meant_where_it_has_a_number() {
        let control = TensorFlowControl { directory: Hearsay::default() };
        for (model_spec, expected) in [
            (spec("numbered", None), Some(WireVersion::Version(3))),
            (spec("numbered", label("stable")), Some(WireVersion::Version(1))),
            (spec("plain", None), None),
        ] {
            let metadata_field = vec![SIGNATURE_DEF.to_owned()];
            let request = proto::GetModelMetadataRequest { model_spec, metadata_field };
            let told = control.get_model_metadata(Request::new(request)).await.unwrap().into_inner();
            assert_eq!(told.model_spec.unwrap().version_choice, expected);
            let map = proto::SignatureDefMap::decode(&*told.metadata[SIGNATURE_DEF].value).unwrap();
            assert_eq!(map.signature_def[SIGNATURE].inputs["x"].dtype, data_type(crate::tensor::DType::Fp32));
        }
    }

    #[tokio::test]
    async fn a_status_is_told_of_every_version_or_of_the_one_that_is_meant() {
        use proto::model_version_status::State::{Available, End};
        let control = TensorFlowControl { directory: Hearsay::default() };
        for (model_spec, expected) in [
            (spec("numbered", None), &[(1, Available), (2, End), (3, Available)][..]),
            (spec("numbered", Some(WireVersion::Version(2))), &[(2, End)]),
            (spec("numbered", label("stable")), &[(1, Available)]),
            // It serves, and has no version to tell of.
            (spec("plain", None), &[]),
        ] {
            let request = Request::new(proto::GetModelStatusRequest { model_spec });
            let told = control.get_model_status(request).await.unwrap().into_inner().model_version_status;
            let told: Vec<_> = told.iter().map(|status| (status.version, status.state())).collect();
            assert_eq!(told, expected);
        }
        let request = Request::new(proto::GetModelStatusRequest { model_spec: spec("nobody", None) });
        let status = control.get_model_status(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::NotFound);
    }
}
