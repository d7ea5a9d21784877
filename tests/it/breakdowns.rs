//! Where the time of a call went, as callers and gateways are told.

use infergate::infer::Stage;
use infergate::wire::proto::inference::ModelInferResponse;
use infergate::wire::proto::inference::infer_parameter::ParameterChoice;
use infergate::wire::stages;
use prost::Message;
use tonic::Code;

use crate::harness::{Breakdown, Fronting, INFER, Model, Serving, echo, echoed, framed, within};

#[tokio::test]
async fn the_trailers_say_where_the_time_went_and_stages_account_for_all_of_it() {
    let serving = Serving::of([Model::echo()]).await;
    let connection = serving.raw().await;
    for _ in 0..20 {
        let answer = connection.call(INFER, &[], framed(&echo(&[1.0]))).await;
        assert_eq!(answer.code(), Code::Ok);
        let breakdown = Breakdown::of(&answer.trailers);
        breakdown.is_whole();
        for stage in ["receive", "queue", "execute"] {
            assert!(breakdown.has(stage), "{breakdown:?}");
        }
        // The last stage ends where the call does, so that nothing is left over however slow the machine is.
        assert_eq!(breakdown.other(), 0, "{breakdown:?}");
    }
    serving.finish().await;
}

#[tokio::test]
async fn a_caller_that_sees_no_trailers_is_told_among_the_parameters_of_each_answer_and_one_that_does_not_care_nowhere()
{
    let serving = Serving::of([Model::echo()]).await;
    let fronting = Fronting::of(&[serving.grpc()]).await;
    let asking = |wanted: &'static str| {
        let mut request = tonic::Request::new(echo(&[1.0]));
        request.metadata_mut().insert("infergate-timing", wanted.parse().unwrap());
        request
    };
    for (mut client, at) in
        [(serving.oip().await, "cpu".to_owned()), (fronting.oip().await, serving.grpc().to_string())]
    {
        let answer = within(client.model_infer(asking("parameter"))).await.unwrap().into_inner();
        assert_eq!(echoed(&answer), [1.0]);
        let Some(ParameterChoice::StringParam(told)) = &answer.parameters["server_timing"].parameter_choice else {
            panic!("{answer:?}")
        };
        let breakdown = Breakdown::parse(told);
        breakdown.is_whole();
        assert!(breakdown.has("execute"));
        assert_eq!((breakdown.said("version"), breakdown.said("at")), ("1", &*at));
        let answer = within(client.model_infer(asking("off"))).await.unwrap();
        assert!(!answer.metadata().contains_key("server-timing") && answer.get_ref().parameters.is_empty());
        let status = within(client.model_infer(asking("maybe"))).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let mut stream = tonic::Request::new(tokio_stream::iter([echo(&[2.0])]));
        stream.metadata_mut().insert("infergate-timing", "parameter".parse().unwrap());
        let mut answers = within(client.model_stream_infer(stream)).await.unwrap().into_inner();
        let answer = within(answers.message()).await.unwrap().unwrap().infer_response.unwrap();
        assert!(answer.parameters.contains_key("server_timing"), "{answer:?}");
    }
    fronting.finish().await;
    serving.finish().await;
}

#[tokio::test]
async fn a_server_that_is_to_say_nothing_of_its_time_says_nothing_however_it_is_asked() {
    let serving = Serving::with([Model::echo()], |config| config.server_timing = false).await;
    let connection = serving.raw().await;
    for headers in [&[][..], &[("infergate-timing", "parameter")]] {
        let answer = connection.call(INFER, headers, framed(&echo(&[1.0]))).await;
        assert_eq!(answer.code(), Code::Ok);
        assert!(!answer.trailers.contains_key("server-timing"));
        let message = ModelInferResponse::decode(&answer.body[5..]).unwrap();
        assert!(!message.parameters.contains_key("server_timing"));
    }
    serving.finish().await;
}

#[tokio::test]
async fn a_gateway_is_told_in_fewer_bytes_where_the_time_went() {
    let serving = Serving::of([Model::echo()]).await;
    let connection = serving.raw().await;
    let plain = connection.call(INFER, &[], framed(&echo(&[1.0]))).await;
    let answer = connection.call(INFER, &[("infergate-gateway", "0000000000000007")], framed(&echo(&[1.0]))).await;
    assert!(!answer.trailers.contains_key("server-timing") && !plain.trailers.contains_key("infergate-stages-bin"));
    let told = stages::read(answer.trailers[stages::TRAILER].as_bytes()).unwrap();
    assert!(!told.spent.of(Stage::Execute).is_zero() && told.spent.other().is_zero(), "{told:?}");
    assert_eq!((told.rows, told.members), (1, 1));
    assert!(answer.trailers[stages::TRAILER].len() * 2 < plain.trailers["server-timing"].len());
    serving.finish().await;
}
