//! What clients ask about models and the server, and the loading and unloading of models: everything off the path of a
//! call, on tonic's services.

mod batching;
mod catalog;
mod description;
mod directory;
#[cfg(test)]
pub(super) mod fixture;
mod health;
mod open_inference;
mod settings;
mod tensorflow;

pub use catalog::CatalogDirectory;
pub use directory::{Description, Directory, For};
pub use health::HealthService;
pub use open_inference::OpenInferenceControl;
pub use settings::RuntimeSettings;
pub use tensorflow::TensorFlowControl;

use tonic::codec::CompressionEncoding::{Gzip, Zstd};

use super::front::Front;
use super::generated::health::health_server::HealthServer;
use super::generated::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::generated::serving::model_service_server::ModelServiceServer;
use super::generated::serving::prediction_service_server::PredictionServiceServer;
use super::phase::{Phase, Phases};
use crate::error::{Error, Kind, Result};
use crate::infer::Infer;
use crate::wire::proto::DESCRIPTORS;

/// Whether the process as a whole can be called: its models were loaded as far as they can be, there is somebody to
/// answer, and it is not stopping.
#[derive(Clone)]
pub struct Readiness<D: Directory> {
    /// What is known of models.
    pub directory: D,
    /// How far the process is in stopping.
    pub phases: Phases,
}

impl<D: Directory> Readiness<D> {
    /// Whether it can be called. A broken model does not keep the others from being served.
    ///
    /// # Errors
    /// Why not: its phase, or what the directory says.
    pub fn check(&self) -> Result<()> {
        match self.phases.now() {
            Phase::Starting => Err(Error::new(Kind::NotReady, "models are loading")),
            Phase::Serving => self.directory.ready(),
            Phase::Announcing | Phase::Leaving | Phase::Cut => {
                Err(Error::new(Kind::Draining, "the server is stopping"))
            }
        }
    }

    /// Whether it can be called.
    pub fn is_ready(&self) -> bool {
        self.check().is_ok()
    }

    /// Whether it is not stopping.
    pub fn is_staying(&self) -> bool {
        self.phases.now() <= Phase::Serving
    }
}

macro_rules! server {
    ($(#[$doc:meta])* $function:ident: $server:ident of $service:ident) => {
        $(#[$doc])*
        pub fn $function<D: Directory>(service: $service<D>, message_size: usize) -> $server<$service<D>> {
            $server::new(service)
                .accept_compressed(Gzip)
                .accept_compressed(Zstd)
                .max_decoding_message_size(message_size)
        }
    };
}

server!(
    /// The service for the front, for messages up to `message_size`.
    open_inference_server: GrpcInferenceServiceServer of OpenInferenceControl
);
server!(
    /// The service for the front, for messages up to `message_size`.
    prediction_server: PredictionServiceServer of TensorFlowControl
);
server!(
    /// The service for the front, for messages up to `message_size`.
    status_server: ModelServiceServer of TensorFlowControl
);
server!(
    /// The service for the front, for messages up to `message_size`.
    health_server: HealthServer of HealthService
);

/// Serves the protocols' description too, in both versions of reflection.
pub fn reflection<S: Infer>(front: Front<S>) -> Front<S> {
    let builder = || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let v1 = builder().build_v1().expect("our own descriptors are well-formed");
    let v1alpha = builder().build_v1alpha().expect("our own descriptors are well-formed");
    front.with(v1).with(v1alpha)
}
