//! Names of attributes: those of OpenTelemetry's conventions for RPCs, and our own for inference.

pub(super) const RPC_SYSTEM: &str = "rpc.system.name";
pub(super) const RPC_METHOD: &str = "rpc.method";
pub(super) const RPC_METHOD_ORIGINAL: &str = "rpc.method_original";
pub(super) const RPC_STATUS: &str = "rpc.response.status_code";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";

/// The only system of RPCs that there is here; also the name of spans whose method nobody knows.
pub(super) const GRPC: &str = "grpc";

pub(super) const MODEL_NAME: &str = "inference.model.name";
pub(super) const MODEL_VERSION: &str = "inference.model.version";
pub(super) const DEVICE: &str = "inference.device";
/// Why the call is kept: `sampled`, `error` or `slow`.
pub(super) const KEPT: &str = "inference.kept";
/// Seconds that it waited for a slot.
pub(super) const QUEUE_DURATION: &str = "inference.queue.duration";
/// Rows.
pub(super) const BATCH_SIZE: &str = "inference.batch.size";
pub(super) const BATCH_CALLS: &str = "inference.batch.calls";
/// The shape as which it was run, fill and padding included.
pub(super) const BATCH_BUCKET: &str = "inference.batch.bucket";
/// Elements.
pub(super) const BATCH_PADDING: &str = "inference.batch.padding";
pub(super) const BATCH_CLOSED: &str = "inference.batch.close_reason";
/// The id of the span of the batch.
pub(super) const BATCH_SPAN: &str = "inference.batch.span_id";
/// Seconds in which inputs were laid out, and in which the engine ran.
pub(super) const MERGE_DURATION: &str = "inference.batch.merge.duration";
pub(super) const EXECUTE_DURATION: &str = "inference.batch.execute.duration";
/// What was done for the call beyond what is kept of it.
pub(super) const WORKS_DROPPED: &str = "inference.works.dropped";
pub(super) const ENDPOINT: &str = "inference.endpoint";
pub(super) const ZONE: &str = "inference.zone";
pub(super) const PICKER: &str = "inference.picker";
/// `closed`, or `probe` where the call is to find out.
pub(super) const BREAKER: &str = "inference.breaker";
pub(super) const ATTEMPTS: &str = "inference.attempts";
/// `first`, `retry`, `hedge` or `silence`.
pub(super) const ATTEMPT_WHY: &str = "inference.attempt.why";
/// How often the call was tried before, as gRPC names it (gRFC A72).
pub(super) const PREVIOUS_ATTEMPTS: &str = "previous-rpc-attempts";
/// Whether the attempt before never ran (gRFC A72).
pub(super) const TRANSPARENT_RETRY: &str = "transparent-retry";

/// Seconds of a stage; that of what no stage accounts for is the last.
pub(super) const STAGES: [&str; 12] = [
    "inference.stage.receive",
    "inference.stage.admit",
    "inference.stage.pick",
    "inference.stage.connect",
    "inference.stage.send",
    "inference.stage.queue",
    "inference.stage.merge",
    "inference.stage.execute",
    "inference.stage.split",
    "inference.stage.return",
    "inference.stage.encode",
    "inference.stage.other",
];

/// Codes that are errors of a server (semantic conventions for gRPC); others are its callers', or no errors at all.
pub(super) fn is_server_error(code: &str) -> bool {
    matches!(code, "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS")
}

#[cfg(test)]
mod tests {
    use opentelemetry_semantic_conventions::attribute;

    use super::*;
    use crate::infer::Stage;

    #[test]
    fn the_names_are_those_of_the_conventions_of_now() {
        let ours = [RPC_SYSTEM, RPC_METHOD, RPC_METHOD_ORIGINAL, RPC_STATUS, ERROR_TYPE, SERVER_ADDRESS, SERVER_PORT];
        let theirs = [
            attribute::RPC_SYSTEM_NAME,
            attribute::RPC_METHOD,
            attribute::RPC_METHOD_ORIGINAL,
            attribute::RPC_RESPONSE_STATUS_CODE,
            attribute::ERROR_TYPE,
            attribute::SERVER_ADDRESS,
            attribute::SERVER_PORT,
        ];
        assert_eq!(ours, theirs);
    }

    #[test]
    fn each_stage_has_its_attribute() {
        for (stage, name) in Stage::ALL.into_iter().zip(STAGES) {
            assert_eq!(name.strip_prefix("inference.stage."), Some(stage.name()));
        }
    }
}
