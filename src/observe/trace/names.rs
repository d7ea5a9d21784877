//! Names of attributes: those of OpenTelemetry's conventions for RPCs, and our own for inference.

use super::otlp::Key;

pub(super) static RPC_SYSTEM: Key = Key::of("rpc.system.name");
pub(super) static RPC_METHOD: Key = Key::of("rpc.method");
pub(super) static RPC_METHOD_ORIGINAL: Key = Key::of("rpc.method_original");
pub(super) static RPC_STATUS: Key = Key::of("rpc.response.status_code");
pub(super) static ERROR_TYPE: Key = Key::of("error.type");
pub(super) static SERVER_ADDRESS: Key = Key::of("server.address");
pub(super) static SERVER_PORT: Key = Key::of("server.port");

/// The only system of RPCs that there is here; also the name of spans whose method nobody knows.
pub(super) const GRPC: &str = "grpc";

pub(super) static MODEL_NAME: Key = Key::of("inference.model.name");
pub(super) static MODEL_VERSION: Key = Key::of("inference.model.version");
pub(super) static DEVICE: Key = Key::of("inference.device");
/// Why the call is kept: `sampled`, `error` or `slow`.
pub(super) static KEPT: Key = Key::of("inference.kept");
/// Seconds that it waited for a slot.
pub(super) static QUEUE_DURATION: Key = Key::of("inference.queue.duration");
/// Rows.
pub(super) static BATCH_SIZE: Key = Key::of("inference.batch.size");
pub(super) static BATCH_CALLS: Key = Key::of("inference.batch.calls");
/// The shape as which it was run, fill and padding included.
pub(super) static BATCH_BUCKET: Key = Key::of("inference.batch.bucket");
/// Elements.
pub(super) static BATCH_PADDING: Key = Key::of("inference.batch.padding");
pub(super) static BATCH_CLOSED: Key = Key::of("inference.batch.close_reason");
/// The id of the span of the batch.
pub(super) static BATCH_SPAN: Key = Key::of("inference.batch.span_id");
/// Seconds in which inputs were laid out, and in which the engine ran.
pub(super) static MERGE_DURATION: Key = Key::of("inference.batch.merge.duration");
pub(super) static EXECUTE_DURATION: Key = Key::of("inference.batch.execute.duration");
/// What was done for the call beyond what is kept of it.
pub(super) static WORKS_DROPPED: Key = Key::of("inference.works.dropped");
pub(super) static ENDPOINT: Key = Key::of("inference.endpoint");
pub(super) static ZONE: Key = Key::of("inference.zone");
pub(super) static PICKER: Key = Key::of("inference.picker");
/// `closed`, or `probe` where the call is to find out.
pub(super) static BREAKER: Key = Key::of("inference.breaker");
pub(super) static ATTEMPTS: Key = Key::of("inference.attempts");
/// `first`, `retry`, `hedge` or `silence`.
pub(super) static ATTEMPT_WHY: Key = Key::of("inference.attempt.why");
/// How often the call was tried before, as gRPC names it (gRFC A72).
pub(super) static PREVIOUS_ATTEMPTS: Key = Key::of("previous-rpc-attempts");
/// Whether the attempt before never ran (gRFC A72).
pub(super) static TRANSPARENT_RETRY: Key = Key::of("transparent-retry");

/// Seconds of a stage; that of what no stage accounts for is the last.
pub(super) static STAGES: [Key; 12] = [
    Key::of("inference.stage.receive"),
    Key::of("inference.stage.admit"),
    Key::of("inference.stage.pick"),
    Key::of("inference.stage.connect"),
    Key::of("inference.stage.send"),
    Key::of("inference.stage.queue"),
    Key::of("inference.stage.merge"),
    Key::of("inference.stage.execute"),
    Key::of("inference.stage.split"),
    Key::of("inference.stage.return"),
    Key::of("inference.stage.encode"),
    Key::of("inference.stage.other"),
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
        let ours =
            [&RPC_SYSTEM, &RPC_METHOD, &RPC_METHOD_ORIGINAL, &RPC_STATUS, &ERROR_TYPE, &SERVER_ADDRESS, &SERVER_PORT];
        let theirs = [
            attribute::RPC_SYSTEM_NAME,
            attribute::RPC_METHOD,
            attribute::RPC_METHOD_ORIGINAL,
            attribute::RPC_RESPONSE_STATUS_CODE,
            attribute::ERROR_TYPE,
            attribute::SERVER_ADDRESS,
            attribute::SERVER_PORT,
        ];
        assert_eq!(ours.map(|name| name.to_string()), theirs);
    }

    #[test]
    fn each_stage_has_its_attribute() {
        for (stage, name) in Stage::ALL.into_iter().zip(&STAGES) {
            assert_eq!(name.to_string(), format!("inference.stage.{}", stage.name()));
        }
    }
}
