//! However a call comes, it runs with the others: in a stream, or in TensorFlow Serving's protocol.

use infergate::tensor::DType;
use infergate::wire::proto::inference::ModelStreamInferResponse;
use infergate::wire::proto::tensorflow as tf;
use infergate::wire::tfs::data_type;
use tf::serving::{ModelSpec, PredictRequest, PredictResponse};
use tonic::Code;

use super::{Busy, answered, begun, call, have_come};
use crate::harness::{PREDICT, Pending, Raw, STREAM_INFER, echoed, framed, unframed};

/// A call of Predict with these values, a row each.
async fn predicting(raw: &Raw, values: &[f32]) -> Pending {
    let dim = |size: usize| tf::tensor_shape_proto::Dim { size: size as i64, ..Default::default() };
    let shape = tf::TensorShapeProto { dim: vec![dim(values.len()), dim(1)], unknown_rank: false };
    let x = tf::TensorProto {
        dtype: data_type(DType::Fp32),
        tensor_shape: Some(shape),
        float_val: values.to_vec(),
        ..Default::default()
    };
    let model_spec = Some(ModelSpec { name: "rows".to_owned(), ..Default::default() });
    let request = PredictRequest { model_spec, inputs: [("x".to_owned(), x)].into(), ..Default::default() };
    let mut pending = raw.begin(PREDICT, &[]).await.unwrap();
    pending.put(framed(&request), true);
    pending
}

#[tokio::test]
async fn calls_of_both_protocols_and_of_a_stream_run_as_one_and_are_answered_in_their_own() {
    let busy = Busy::with("").await;
    let mut stream = busy.raw.begin(STREAM_INFER, &[]).await.unwrap();
    stream.put([framed(&call(&[1.0])), framed(&call(&[2.0, 3.0])), framed(&call(&[]))].concat(), true);
    have_come(&busy.raw).await;
    let predicted = predicting(&busy.raw, &[4.0, 5.0]).await;
    have_come(&busy.raw).await;
    let inferred = begun(&busy.raw, &call(&[6.0]), &[]).await;
    have_come(&busy.raw).await;
    let released = busy.release().await;

    let answer = stream.answer().await.unwrap();
    assert_eq!(answer.code(), Code::Ok);
    let messages: Vec<ModelStreamInferResponse> = unframed(answer.body);
    let values: Vec<_> = messages.iter().map(|message| echoed(message.infer_response.as_ref().unwrap())).collect();
    assert_eq!(values, [vec![1.0], vec![2.0, 3.0], vec![]], "in the order in which they were asked");
    let answer = predicted.answer().await.unwrap();
    assert_eq!(answer.code(), Code::Ok);
    let answer: PredictResponse = unframed(answer.body).remove(0);
    assert_eq!(answer.outputs["y"].float_val, [4.0, 5.0]);
    assert_eq!(echoed(&answered(inferred).await), [6.0]);

    let mut runs = released.later_runs();
    runs.sort_by_key(Vec::len);
    assert_eq!(runs, [vec![], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]);
    released.finish().await;
}
