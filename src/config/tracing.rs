//! How spans are sent to a collector.

use serde::{Deserialize, Serialize};

use super::Setting;

/// A protocol of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportProtocol {
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// Protobuf over HTTP.
    #[serde(rename = "http/protobuf")]
    Http,
}

impl Setting for ExportProtocol {
    const ALLOWED: &'static str = "\"grpc\" or \"http/protobuf\"";
}
