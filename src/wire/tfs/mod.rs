//! TensorFlow Serving's hot messages, walked and written by hand: `PredictRequest` into a call, and an
//! [`InferResponse`](crate::infer::InferResponse) into `PredictResponse`.

mod request;
mod response;
mod tensor;
#[cfg(test)]
mod tests;

pub use request::{Call, decode};
pub use response::encode;
pub use tensor::{data_type, dtype};

/// The only signature that is served.
pub const SIGNATURE: &str = "serving_default";

/// The fields that lead to the large bytes of a `PredictRequest`: an entry of `inputs`, its value, `tensor_content`.
pub const CONTENT_PATH: [u32; 3] = [2, 2, 4];

/// How a request carried its tensors, and so how its answer will. Strings have one form only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As raw bytes in `tensor_content`.
    Content,
    /// In the list of the tensor's type (`float_val` and so on).
    Values,
}
