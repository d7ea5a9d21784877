//! Infergate: a gRPC inference gateway. The stages of a call are the folders of this tree, in the order in which a
//! call meets them; ARCHITECTURE.md tells the journey.

/// Fifth stage of a call: run it.
pub mod compute;
/// Why a call failed, whose doing it was, whether to try again.
pub mod error;
/// The seams `Infer` and `Place`, and the types of a call.
pub mod infer;
/// Tensors: names, types, shapes, ropes of bytes, signatures.
pub mod tensor;
/// Bytes of a protocol to words of the domain and back.
pub mod wire;
