//! Where a tensor's bytes lie when an engine sees them.

use std::collections::HashMap;

use bytes::Bytes;
use infergate::tensor::DType;
use infergate::tensor::aligned::ALIGNMENT;
use infergate::wire::proto::inference::ModelInferRequest;
use infergate::wire::proto::tensorflow as tf;
use infergate::wire::proto::tensorflow::serving::{ModelSpec, PredictRequest};
use tonic::Code;

use crate::harness::{FREE, INFER, Model, PREDICT, STREAM_INFER, Serving, framed, raw, tensor};

const LARGE: usize = 1 << 20;

fn large(id: String) -> ModelInferRequest {
    let data = Bytes::from(vec![7; LARGE]);
    ModelInferRequest { id, ..raw("echo", [(tensor("x", DType::Fp32, &[LARGE as i64 / 4]), data)]) }
}

#[tokio::test]
async fn a_large_tensor_reaches_the_engine_aligned_and_uncopied_whatever_the_length_of_the_header() {
    let model = Model::echo();
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    // Lengths for each place in a cache line, and some of more than a line.
    let lengths: Vec<usize> = (0..=ALIGNMENT).chain([100, 1000, 5000]).collect();
    for length in &lengths {
        let answer = raw.call(INFER, &[], framed(&large("i".repeat(*length)))).await;
        assert_eq!(answer.code(), Code::Ok);
    }
    let seen = log.seen();
    assert_eq!(seen.len(), lengths.len());
    for (length, seen) in lengths.iter().zip(&seen) {
        let input = &seen.inputs[0];
        assert_eq!(input.tensor.data().parts().len(), 1, "an id of {length} bytes");
        assert_eq!(input.address % ALIGNMENT, 0, "an id of {length} bytes");
        assert!(input.shared, "an id of {length} bytes: the engine saw a copy of the message's bytes");
    }
    serving.finish().await;
}

#[tokio::test]
async fn so_does_one_in_a_stream_and_one_of_predict() {
    let model = Model::echo();
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    for length in 0..8 {
        let body = [framed(&large("i".repeat(length))), framed(&large("i".repeat(2 * length)))].concat();
        assert_eq!(raw.call(STREAM_INFER, &[], body).await.code(), Code::Ok);

        let dim = tf::tensor_shape_proto::Dim { size: LARGE as i64 / 4, ..Default::default() };
        let content = tf::TensorProto {
            dtype: 1,
            tensor_shape: Some(tf::TensorShapeProto { dim: vec![dim], unknown_rank: false }),
            tensor_content: vec![7; LARGE].into(),
            ..Default::default()
        };
        let call = PredictRequest {
            model_spec: Some(ModelSpec { name: "echo".to_owned(), ..Default::default() }),
            inputs: HashMap::from([("x".to_owned(), content)]),
            output_filter: vec!["y".to_owned()],
            ..Default::default()
        };
        assert_eq!(raw.call(PREDICT, &[], framed(&call)).await.code(), Code::Ok);
    }
    for seen in log.seen() {
        let input = &seen.inputs[0];
        assert_eq!(input.address % ALIGNMENT, 0);
        assert!(input.shared, "the engine saw a copy of the message's bytes");
    }
    assert_eq!(log.runs(), 24);
    serving.finish().await;
}

#[tokio::test]
async fn small_tensors_lie_at_a_multiple_of_their_elements_size_wherever_they_were_in_the_message() {
    let doubles = |name: &str| (tensor(name, DType::Fp64, &[3]), Bytes::from(vec![7; 24]));
    let model = Model::new("three")
        .input("a", DType::Fp64, &[FREE])
        .input("b", DType::Fp64, &[FREE])
        .input("c", DType::Fp64, &[FREE])
        .output("d", DType::Fp64, &[FREE]);
    let log = model.log();
    let serving = Serving::of([model]).await;
    let connection = serving.raw().await;
    for length in 0..16 {
        let call = raw("three", ["a", "b", "c"].map(doubles));
        let call = ModelInferRequest { id: "i".repeat(length), ..call };
        assert_eq!(connection.call(INFER, &[], framed(&call)).await.code(), Code::Ok);
    }
    for seen in log.seen() {
        assert!(seen.inputs.iter().all(|input| input.address % 8 == 0 && input.tensor.data().parts().len() == 1));
    }
    serving.finish().await;
}

#[tokio::test]
async fn a_message_that_comes_in_bits_is_put_together_once_and_aligned_for_its_elements() {
    let model = Model::echo();
    let log = model.log();
    let serving = Serving::of([model]).await;
    let raw = serving.raw().await;
    // The prefix alone, then single bytes of the header, then the rest.
    let message = framed(&large("an id".to_owned()));
    let mut pending = raw.begin(INFER, &[]).await.unwrap();
    pending.put(message.slice(..5), false);
    for index in 5..30 {
        pending.put(message.slice(index..index + 1), false);
    }
    pending.put(message.slice(30..), true);
    assert_eq!(pending.answer().await.unwrap().code(), Code::Ok);
    assert_eq!(log.seen()[0].inputs[0].address % 4, 0);
    assert_eq!(log.seen()[0].inputs[0].tensor.data().parts().len(), 1);
    serving.finish().await;
}
