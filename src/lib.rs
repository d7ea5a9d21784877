//! Infergate: a gRPC inference gateway. The stages of a call are folders of this tree, in the order in which a call
//! meets them; ARCHITECTURE.md tells the journey.

// The stages.

/// 1. A call arrives.
pub mod accept;
/// 2. May it enter, and until when.
pub mod admit;
/// 3. Who should do it.
pub mod balance;
/// 4. Do it with others.
pub mod batch;
/// 5. Do it.
pub mod compute;

// Beside the path of a call.

/// What the process was told.
pub mod config;
/// Who exists.
pub mod discover;
/// What is served: the repository, settings, versions.
pub mod models;
/// What happened: counts and statistics.
pub mod observe;

// The shared words.

/// What a run costs, learnt while models run.
pub mod cost;
/// Why a call failed, whose doing it was, whether to try again.
pub mod error;
/// The seams `Infer` and `Place`, and the types of a call.
pub mod infer;
/// Certificates and keys out of files.
mod pem;
/// Tensors: names, types, shapes, ropes of bytes, signatures.
pub mod tensor;
/// Bytes of a protocol to words of the domain and back.
pub mod wire;

// The process.

/// The commands.
pub mod cli;
/// The roles: which stages make a process.
pub mod role;
