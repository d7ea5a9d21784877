//! grpc.health.v1.

use infergate::error::{Error, Kind};
use infergate::tensor::DType;
use infergate::wire::proto::health::health_check_response::ServingStatus;
use infergate::wire::proto::health::health_client::HealthClient;
use infergate::wire::proto::health::{HealthCheckRequest, HealthListRequest};
use infergate::wire::proto::inference::{RepositoryModelLoadRequest, RepositoryModelUnloadRequest};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::harness::{FREE, Model, Serving, within};

const SERVICES: [&str; 6] = [
    "",
    "inference.GRPCInferenceService",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "PredictionService",
    "ModelService",
];

fn broken() -> Model {
    Model::identity("broken", DType::Fp32, &[FREE]).loading(|_, _| Err(Error::new(Kind::Unloadable, "broken")))
}

async fn check(client: &mut HealthClient<Channel>, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    within(client.check(request)).await.map(|response| response.get_ref().status())
}

#[tokio::test]
async fn the_server_its_services_its_models_and_their_versions_can_be_asked_for() {
    let serving = Serving::of([Model::echo().versions(&[3]), broken()]).await;
    let mut client = HealthClient::new(serving.channel().await);
    for service in SERVICES.into_iter().chain(["model/echo", "model/echo/3"]) {
        assert_eq!(check(&mut client, service).await.unwrap(), ServingStatus::Serving, "{service:?}");
    }
    for service in ["model/broken", "model/broken/1"] {
        assert_eq!(check(&mut client, service).await.unwrap(), ServingStatus::NotServing, "{service:?}");
    }
    for service in ["nothing", "echo", "model/", "model/nobody", "model/echo/4", "model/../x", "model/echo/x"] {
        let status = check(&mut client, service).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::NotFound, "no such service or model"), "{service:?}");
    }
    serving.finish().await;
}

#[tokio::test]
async fn the_list_has_all_that_can_be_asked_for() {
    let serving = Serving::of([Model::echo().versions(&[1, 2]).settings("versions = \"all\""), broken()]).await;
    let mut client = HealthClient::new(serving.channel().await);
    let listed = within(client.list(HealthListRequest {})).await.unwrap().into_inner().statuses;
    let mut listed: Vec<_> = listed.into_iter().map(|(name, told)| (name, told.status())).collect();
    listed.sort();
    let serving_ones = SERVICES.into_iter().chain(["model/echo", "model/echo/1", "model/echo/2"]);
    let mut expected: Vec<_> = serving_ones.map(|name| (name.to_owned(), ServingStatus::Serving)).collect();
    expected.extend(["model/broken", "model/broken/1"].map(|name| (name.to_owned(), ServingStatus::NotServing)));
    expected.sort();
    assert_eq!(listed, expected);
    serving.finish().await;
}

#[tokio::test]
async fn a_watch_tells_each_change_and_nothing_else() {
    let serving = Serving::of([Model::echo()]).await;
    let mut client = HealthClient::new(serving.channel().await);
    let mut models = serving.oip().await;
    let model = || "echo".to_owned();
    let mut watch = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        within(client.watch(request)).await.unwrap().into_inner()
    };
    let (mut echo, mut unknown) = (watch("model/echo").await, watch("model/nobody").await);
    let next = async |stream: &mut tonic::Streaming<_>| {
        let message: infergate::wire::proto::health::HealthCheckResponse =
            within(stream.message()).await.unwrap().expect("the watch ended");
        message.status()
    };
    assert_eq!(next(&mut echo).await, ServingStatus::Serving);
    assert_eq!(next(&mut unknown).await, ServingStatus::ServiceUnknown);
    for _ in 0..2 {
        let request = RepositoryModelUnloadRequest { model_name: model(), ..Default::default() };
        within(models.repository_model_unload(request)).await.unwrap();
        assert_eq!(next(&mut echo).await, ServingStatus::NotServing);
        // A load is several changes of the catalog, and one of the health.
        let request = RepositoryModelLoadRequest { model_name: model(), ..Default::default() };
        within(models.repository_model_load(request)).await.unwrap();
        assert_eq!(next(&mut echo).await, ServingStatus::Serving);
    }
    drop((echo, unknown));
    serving.finish().await;
}
