//! RPCs that are no calls, as traces know them: by their names, and from their heads to the ends of their answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use tonic::Code;

use crate::observe::trace::{Asked, Manner, Question, Rpc, Status};
use crate::wire::status;
use crate::wire::status::{GRPC_STATUS, failure};

/// What a span calls a method that nobody knows, whose name its caller has chosen.
const OTHER: &str = "_OTHER";

/// Characters of such a name that are told.
const MOST_ORIGINAL: usize = 120;

/// Those that are known, with how they are used. What nobody implements is among them too, where it has an answer of its own.
const KNOWN: [(&str, Manner); 29] = [
    ("grpc.health.v1.Health/Check", Manner::Probe),
    ("grpc.health.v1.Health/List", Manner::Probe),
    ("grpc.health.v1.Health/Watch", Manner::Probe),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Manner::Open),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Manner::Open),
    ("inference.GRPCInferenceService/CudaSharedMemoryRegister", Manner::Asked),
    ("inference.GRPCInferenceService/CudaSharedMemoryStatus", Manner::Asked),
    ("inference.GRPCInferenceService/CudaSharedMemoryUnregister", Manner::Asked),
    ("inference.GRPCInferenceService/LogSettings", Manner::Asked),
    ("inference.GRPCInferenceService/ModelConfig", Manner::Asked),
    ("inference.GRPCInferenceService/ModelMetadata", Manner::Asked),
    ("inference.GRPCInferenceService/ModelReady", Manner::Probe),
    ("inference.GRPCInferenceService/ModelStatistics", Manner::Asked),
    ("inference.GRPCInferenceService/RepositoryIndex", Manner::Asked),
    ("inference.GRPCInferenceService/RepositoryModelLoad", Manner::Asked),
    ("inference.GRPCInferenceService/RepositoryModelUnload", Manner::Asked),
    ("inference.GRPCInferenceService/ServerLive", Manner::Probe),
    ("inference.GRPCInferenceService/ServerMetadata", Manner::Asked),
    ("inference.GRPCInferenceService/ServerReady", Manner::Probe),
    ("inference.GRPCInferenceService/SystemSharedMemoryRegister", Manner::Asked),
    ("inference.GRPCInferenceService/SystemSharedMemoryStatus", Manner::Asked),
    ("inference.GRPCInferenceService/SystemSharedMemoryUnregister", Manner::Asked),
    ("inference.GRPCInferenceService/TraceSetting", Manner::Asked),
    ("tensorflow.serving.ModelService/GetModelStatus", Manner::Asked),
    ("tensorflow.serving.ModelService/HandleReloadConfigRequest", Manner::Asked),
    ("tensorflow.serving.PredictionService/Classify", Manner::Asked),
    ("tensorflow.serving.PredictionService/GetModelMetadata", Manner::Asked),
    ("tensorflow.serving.PredictionService/MultiInference", Manner::Asked),
    ("tensorflow.serving.PredictionService/Regress", Manner::Asked),
];

/// The RPC at this path.
pub(super) fn rpc(path: &str) -> Rpc {
    let asked = path.strip_prefix('/').unwrap_or(path);
    match KNOWN.iter().find(|(name, _)| *name == asked) {
        Some((name, manner)) => Rpc { name, manner: *manner, original: None },
        None => {
            let original = Some(asked.chars().take(MOST_ORIGINAL).collect());
            Rpc { name: OTHER, manner: Manner::Asked, original }
        }
    }
}

/// A question that came, to those who answer it.
#[derive(Clone)]
pub(super) struct Asking(pub(super) Arc<Question>);

/// The question that a request is, where it has a place in a trace.
pub(super) fn question<T>(request: &tonic::Request<T>) -> Option<Arc<Question>> {
    request.extensions().get::<Asking>().map(|asking| asking.0.clone())
}

/// Has a question end when its answer does.
pub(super) fn ending<B>(response: Response<B>, asked: Asked) -> Response<tonic::body::Body>
where
    B: Body<Data = Bytes, Error = tonic::Status> + Send + 'static,
{
    let asked = match ended(response.headers()) {
        None => Some(asked),
        Some(status) => {
            asked.end(status);
            None
        }
    };
    response.map(|body| tonic::body::Body::new(Answer { body, asked }))
}

/// How an RPC ended whose headers or trailers these are; none where they do not say.
fn ended(headers: &HeaderMap) -> Option<Status> {
    let code = Code::from_bytes(headers.get(GRPC_STATUS)?.as_bytes());
    Some(Status { code: status::code_name(code), failure: failure(headers).err() })
}

pin_project_lite::pin_project! {
    /// An answer on its way; dropped before its end, its caller has left.
    struct Answer<B> {
        #[pin]
        body: B,
        asked: Option<Asked>,
    }
}

impl<B: Body<Data = Bytes>> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(status) = frame.trailers_ref().and_then(ended)
            && let Some(asked) = this.asked.take()
        {
            asked.end(status);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::wire::proto::DESCRIPTORS;

    const CALLS: [&str; 3] = ["ModelInfer", "ModelStreamInfer", "Predict"];

    #[test]
    fn every_method_that_is_described_is_known_by_its_name_but_those_of_calls() {
        let described = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let mut names = BTreeSet::new();
        for file in &described.file {
            for service in &file.service {
                let methods = service.method.iter().filter(|method| !CALLS.contains(&method.name()));
                names.extend(methods.map(|method| format!("{}.{}/{}", file.package(), service.name(), method.name())));
            }
        }
        let known = KNOWN.iter().map(|(name, _)| *name).filter(|name| !name.starts_with("grpc.reflection."));
        assert_eq!(known.map(str::to_owned).collect::<BTreeSet<_>>(), names);
        assert_eq!(rpc("/grpc.health.v1.Health/Check").name, "grpc.health.v1.Health/Check");
    }

    #[test]
    fn what_nobody_knows_has_no_name_of_its_callers_choice_and_tells_no_more_of_it_than_a_line() {
        let Rpc { name, manner, original } = rpc(&format!("/a/{}", "é".repeat(1000)));
        assert_eq!((name, manner, original.unwrap().chars().count()), ("_OTHER", Manner::Asked, MOST_ORIGINAL));
    }
}
