//! The servers generated from `proto/`, without the RPCs that carry tensors.
#![allow(missing_docs, clippy::all, rustdoc::all, reason = "generated from documented .proto files")]

pub mod inference {
    include!(concat!(env!("OUT_DIR"), "/servers/inference.rs"));
}
pub mod health {
    include!(concat!(env!("OUT_DIR"), "/servers/grpc.health.v1.rs"));
}
pub mod serving {
    include!(concat!(env!("OUT_DIR"), "/servers/tensorflow.serving.rs"));
}
