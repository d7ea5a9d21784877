//! gRPC reflection, in both its versions.

use tonic::Code;
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::{Model, Serving, within};

const SERVED: [&str; 4] = [
    "grpc.health.v1.Health",
    "inference.GRPCInferenceService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
];

/// Asks a version of reflection for the services and for a symbol: the services' names, and how many files came.
macro_rules! ask {
    ($version:ident, $serving:expr) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        use $version::server_reflection_request::MessageRequest;
        use $version::server_reflection_response::MessageResponse;

        let request = |message_request| $version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        };
        let questions = [
            request(MessageRequest::ListServices(String::new())),
            request(MessageRequest::FileContainingSymbol("inference.ModelInferRequest".to_owned())),
        ];
        let mut client = ServerReflectionClient::new($serving.channel().await);
        let mut answers =
            within(client.server_reflection_info(tokio_stream::iter(questions))).await.unwrap().into_inner();
        let mut names = Vec::new();
        let mut files = 0;
        while let Some(answer) = within(answers.message()).await.unwrap() {
            match answer.message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => {
                    names = list.service.into_iter().map(|service| service.name).collect();
                }
                MessageResponse::FileDescriptorResponse(found) => files = found.file_descriptor_proto.len(),
                other => panic!("{other:?}"),
            }
        }
        (names, files)
    }};
}

#[tokio::test]
async fn both_versions_list_every_service_and_describe_their_messages() {
    let serving = Serving::of([Model::echo()]).await;
    let (v1, v1alpha): ((Vec<String>, _), (Vec<String>, _)) = (ask!(v1, serving), ask!(v1alpha, serving));
    for (names, files) in [v1, v1alpha] {
        assert!(SERVED.iter().all(|served| names.iter().any(|name| name == served)), "{names:?}");
        assert!(files >= 1);
    }
    serving.finish().await;
}

#[tokio::test]
async fn switched_off_it_is_not_there() {
    let serving = Serving::with([Model::echo()], |config| config.reflection.enabled = false).await;
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let answer = serving.raw().await.call(&path, &[], vec![0; 5]).await;
        assert_eq!(answer.code(), Code::Unimplemented, "{version}");
    }
    serving.finish().await;
}
