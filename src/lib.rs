//! Infergate: a gRPC inference gateway. The stages of a call are the folders of this tree, in the order in which a
//! call meets them; ARCHITECTURE.md tells the journey.

/// First stage of a call: it arrives.
pub mod accept;
/// Second stage of a call: may it enter, until when.
pub mod admit;
/// Third stage of a call: who should do it.
pub mod balance;
/// Fourth stage of a call: do it with others.
pub mod batch;
/// The commands.
pub mod cli;
/// Fifth stage of a call: run it.
pub mod compute;
/// What the process was told to do: file, environment, flags.
pub mod config;
/// Why a call failed, whose doing it was, whether to try again.
pub mod error;
/// The seams `Infer` and `Place`, and the types of a call.
pub mod infer;
/// What is served: the repository, settings, versions.
pub mod models;
/// What happened: counts and statistics.
pub mod observe;
/// The roles: which stages make a process.
pub mod role;
/// Tensors: names, types, shapes, ropes of bytes, signatures.
pub mod tensor;
/// Bytes of a protocol to words of the domain and back.
pub mod wire;
