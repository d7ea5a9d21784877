//! Bytes to domain and back. The messages of a call are walked and written by hand, so that tensor bytes are shared
//! and never copied; everything off the hot path is generated from `proto/`.

mod binary;
mod elements;
/// Writes gathered into few system calls.
pub mod gather;
mod message;
/// The Open Inference Protocol's hot messages.
pub mod oip;
/// Load reports for balancers.
pub mod orca;
/// Which gateway a call comes from.
pub mod origin;
/// Protobuf's wire format.
pub mod protobuf;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod scramble;
/// Where a call's time went in a worker.
pub mod stages;
/// Failures as gRPC statuses, and back.
pub mod status;
/// TensorFlow Serving's hot messages.
pub mod tfs;
/// How much of a call's time is left.
pub mod timeout;
/// A call's place in a distributed trace.
pub mod trace;

pub use message::PREFIX;

/// The content type of every gRPC message.
pub const GRPC: http::HeaderValue = http::HeaderValue::from_static("application/grpc");

/// Types and clients generated from `proto/`.
#[allow(missing_docs, clippy::all, rustdoc::all, reason = "generated from documented .proto files")]
pub mod proto {
    /// Every service and message as a serialised `FileDescriptorSet`, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    /// The file of `ModelConfig` alone in the same form, for reading its text.
    pub const MODEL_CONFIG: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/model_config.bin"));

    /// The Open Inference Protocol with Triton's extensions.
    pub mod inference {
        include!(concat!(env!("OUT_DIR"), "/inference.rs"));
    }
    /// grpc.health.v1.
    pub mod health {
        include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
    }
    /// TensorFlow's tensors.
    pub mod tensorflow {
        include!(concat!(env!("OUT_DIR"), "/tensorflow.rs"));
        /// TensorFlow's error codes.
        pub mod error {
            include!(concat!(env!("OUT_DIR"), "/tensorflow.error.rs"));
        }
        /// TensorFlow Serving.
        pub mod serving {
            include!(concat!(env!("OUT_DIR"), "/tensorflow.serving.rs"));
        }
    }
}
