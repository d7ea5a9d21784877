//! What clients ask about models and the server, and the loading and unloading of models: everything off the path of a
//! call, on tonic's services.

mod batching;
mod description;
mod health;
mod open_inference;
mod tensorflow;

pub use health::HealthService;
pub use open_inference::OpenInferenceControl;
pub use tensorflow::TensorFlowControl;

use tonic::codec::CompressionEncoding::{Gzip, Zstd};

use super::front::Front;
use super::generated::health::health_server::HealthServer;
use super::generated::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::generated::serving::model_service_server::ModelServiceServer;
use super::generated::serving::prediction_service_server::PredictionServiceServer;
use super::phase::{Phase, Phases};
use crate::infer::Infer;
use crate::models::Catalog;
use crate::wire::proto::DESCRIPTORS;

/// Whether the process as a whole can be called: its models were loaded as far as they can be, and it
/// is not stopping.
pub struct Readiness<S: Infer> {
    /// What is served.
    pub catalog: Catalog<S>,
    /// How far the process is in stopping.
    pub phases: Phases,
}

impl<S: Infer> Clone for Readiness<S> {
    fn clone(&self) -> Self {
        Readiness { catalog: self.catalog.clone(), phases: self.phases.clone() }
    }
}

impl<S: Infer> Readiness<S> {
    /// Whether it can be called. A broken model does not keep the others from being served.
    pub fn is_ready(&self) -> bool {
        self.phases.now() == Phase::Serving
    }

    /// Whether it is not stopping.
    pub fn is_staying(&self) -> bool {
        self.phases.now() <= Phase::Serving
    }
}

macro_rules! server {
    ($(#[$doc:meta])* $function:ident: $server:ident of $service:ident) => {
        $(#[$doc])*
        pub fn $function<S: Infer>(service: $service<S>, message_size: usize) -> $server<$service<S>> {
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
