//! The Open Inference Protocol's hot messages, walked and written by hand. As a server, `ModelInferRequest` into an
//! [`InferRequest`](crate::infer::InferRequest) and an [`InferResponse`](crate::infer::InferResponse) into
//! `ModelInferResponse`; as a client of backends, the other way round. Tensor bytes are shared, never copied, but for
//! small parts; fields may come in any order.

mod answer;
mod call;
mod contents;
mod parameters;
mod request;
mod response;
mod tensor;
#[cfg(test)]
pub(super) mod tests;

pub use answer::{Answer, RAW_OUTPUTS, answer, mirrors};
pub use call::{forward, request};
pub use request::{Call, RAW_CONTENTS, decode, id};
pub use response::{encode, failed_in_stream, in_stream, with_parameter};

/// How a request carried its tensors, and so how its answer will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In `raw_input_contents`.
    Raw,
    /// In each tensor's `contents`.
    Typed,
}
