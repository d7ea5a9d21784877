//! What contradicts itself is refused with a sentence that names the object and both values.

use prost::Message;

use super::{content, empty};
use crate::error::{Error, Kind};
use crate::tensor::DType;
use crate::wire::proto::tensorflow::serving::model_spec::VersionChoice;
use crate::wire::proto::tensorflow::serving::{ModelSpec, PredictRequest, PredictStreamedOptions};
use crate::wire::proto::tensorflow::{DataType, TensorProto, TensorShapeProto};
use crate::wire::samples::Sample;
use crate::wire::scramble::delimited;
use crate::wire::tfs::{Call, decode};

const LIMIT: usize = 1000;

/// A request for `m` of one input `x`.
fn request(tensor: TensorProto) -> PredictRequest {
    let spec = ModelSpec { name: "m".into(), ..Default::default() };
    PredictRequest { model_spec: Some(spec), inputs: [("x".into(), tensor)].into(), ..Default::default() }
}

fn pair() -> TensorProto {
    content(&Sample { name: "x".into(), dtype: DType::Uint8, dims: vec![2], elements: vec![vec![1], vec![2]] })
}

fn of_spec(spec: ModelSpec) -> PredictRequest {
    PredictRequest { model_spec: Some(spec), ..request(pair()) }
}

fn refusal(message: impl Into<bytes::Bytes>) -> Error {
    decode(message.into(), LIMIT).map(|call: Call| panic!("it was taken: {call:?}")).unwrap_err()
}

/// The sentence with which a request is refused as invalid.
#[track_caller]
fn invalid(request: &PredictRequest) -> String {
    let error = refusal(request.encode_to_vec());
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    error.to_string()
}

fn with_content(dtype: DType, dims: &[i64], bytes: &[u8]) -> PredictRequest {
    request(TensorProto { tensor_content: bytes.to_vec().into(), ..empty(dtype, dims) })
}

#[test]
fn the_request_that_the_others_deviate_from_is_taken() {
    assert!(decode(request(pair()).encode_to_vec().into(), LIMIT).is_ok());
}

#[test]
fn a_byte_count_agrees_with_the_shape() {
    let sentence = "input \"x\": shape [2,2] of FP32 takes 16 bytes, got 15";
    assert_eq!(invalid(&with_content(DType::Fp32, &[2, 2], &[0; 15])), sentence);
    assert_eq!(invalid(&with_content(DType::Int8, &[0], &[1])), "input \"x\": shape [0] of INT8 takes 0 bytes, got 1");
}

#[test]
fn a_name_that_looks_like_the_end_of_a_name_is_shown_whole() {
    let tensor = with_content(DType::Int8, &[2], &[1]).inputs.remove("x").unwrap();
    let request = PredictRequest { inputs: [("a\": b".into(), tensor)].into(), ..request(pair()) };
    assert_eq!(invalid(&request), "input \"a\\\": b\": shape [2] of INT8 takes 2 bytes, got 1");
}

#[test]
fn shapes_neither_overflow_nor_go_below_zero_nor_stay_unknown() {
    let overflow = "input \"x\": shape [1099511627776,1099511627776] overflows";
    assert_eq!(invalid(&request(empty(DType::Int8, &[1 << 40, 1 << 40]))), overflow);
    let negative = "input \"x\": shape [-1,2] has the negative dimension -1";
    assert_eq!(invalid(&request(empty(DType::Int8, &[-1, 2]))), negative);
    let unknown = TensorProto {
        tensor_shape: Some(TensorShapeProto { unknown_rank: true, dim: vec![] }),
        ..empty(DType::Int8, &[])
    };
    assert_eq!(invalid(&request(unknown)), "input \"x\": a tensor of unknown rank");
}

#[test]
fn an_endless_rank_is_refused_before_it_is_kept() {
    assert_eq!(invalid(&request(empty(DType::Int8, &[1; 17]))), "input \"x\": rank 17 is over the limit of 16");
    assert_eq!(
        invalid(&request(empty(DType::Int8, &[1; 100_000]))),
        "input \"x\": rank 100000 is over the limit of 16"
    );
}

#[test]
fn a_few_bytes_do_not_become_more_than_there_is_room() {
    let too_large = |tensor| {
        let error = refusal(request(tensor).encode_to_vec());
        assert_eq!(error.kind(), Kind::TooLarge);
        error.to_string()
    };
    let sentence = "input \"x\": 1000000 elements take more than the 1000 bytes that a message may have";
    assert_eq!(too_large(empty(DType::Fp32, &[1000, 1000])), sentence);
    let string_val = vec![vec![b'a'; 100].into()];
    let strings = TensorProto { string_val, ..empty(DType::Bytes, &[1000]) };
    assert!(too_large(strings).starts_with("input \"x\": 1000 elements take more"));
    assert!(too_large(empty(DType::Int64, &[i64::MAX])).contains("take more than the 1000 bytes"));
}

#[test]
fn the_room_is_shared_by_all_inputs() {
    let inputs = ["a", "b"].map(|name| (name.to_owned(), empty(DType::Uint8, &[600]))).into();
    let error = refusal(PredictRequest { inputs, ..request(pair()) }.encode_to_vec());
    assert_eq!(error.kind(), Kind::TooLarge);
}

#[test]
fn types_that_the_protocols_do_not_share_are_not_served() {
    for dtype in [DataType::DtInvalid, DataType::DtComplex64, DataType::DtResource, DataType::DtFloatRef] {
        let tensor = TensorProto { dtype: dtype.into(), ..empty(DType::Int8, &[]) };
        let sentence = format!("input \"x\": TensorFlow's data type {} is not served", i32::from(dtype));
        assert_eq!(invalid(&request(tensor)), sentence);
    }
}

#[test]
fn strings_have_no_raw_form() {
    let sentence = "input \"x\": strings belong into string_val";
    assert_eq!(invalid(&with_content(DType::Bytes, &[1], &[1, 0, 0, 0, b'a'])), sentence);
}

#[test]
fn a_list_of_another_wire_type_is_malformed() {
    // A varint where a float's four bytes belong: field 5 of the tensor, wire type 0.
    let tensor = [empty(DType::Fp32, &[1]).encode_to_vec(), vec![5 << 3, 1]].concat();
    let entry = [delimited(1, b"x"), delimited(2, &tensor)].concat();
    let error = refusal([delimited(1, &delimited(1, b"m")), delimited(2, &entry)].concat());
    let sentence = "input \"x\": malformed message: a list of elements has another wire type than its number says";
    assert_eq!(error.message(), sentence);
}

#[test]
fn a_model_name_cannot_leave_its_folder() {
    for name in ["", "a/b", "..", "a\0b"] {
        let sentence = invalid(&of_spec(ModelSpec { name: name.into(), ..Default::default() }));
        assert!(sentence.starts_with(&format!("model name {name:?} is not")), "{sentence}");
    }
    let without = PredictRequest { model_spec: None, ..request(pair()) };
    assert!(invalid(&without).starts_with("model name \"\" is not"));
}

#[test]
fn a_version_is_not_negative() {
    let spec = ModelSpec { version_choice: Some(VersionChoice::Version(-3)), ..request(pair()).model_spec.unwrap() };
    assert_eq!(invalid(&of_spec(spec)), "model version -3 is negative");
}

#[test]
fn another_signature_is_not_found() {
    let spec = ModelSpec { signature_name: "other".into(), ..request(pair()).model_spec.unwrap() };
    let error = refusal(of_spec(spec).encode_to_vec());
    assert_eq!(error.kind(), Kind::UnknownModel);
    assert_eq!(error.message(), "signature \"other\" is not known, the model has \"serving_default\"");
}

#[test]
fn streamed_prediction_is_not_served() {
    let options = Some(PredictStreamedOptions::default());
    let error = refusal(PredictRequest { predict_streamed_options: options, ..request(pair()) }.encode_to_vec());
    assert_eq!((error.kind(), error.message()), (Kind::Unsupported, "streamed prediction is not served"));
}

#[test]
fn text_is_utf8() {
    let message = [request(pair()).encode_to_vec(), delimited(3, &[0xff])].concat();
    assert_eq!(refusal(message).message(), "malformed message: a string is not UTF-8");
}

#[test]
fn entries_are_counted_also_where_their_names_are_equal() {
    let sentence = "more than 1024 inputs and output filters";
    let filters = PredictRequest { output_filter: vec!["y".into(); 1025], ..request(pair()) };
    assert_eq!(invalid(&filters), sentence);
    let entry = delimited(2, &[delimited(1, b"x"), delimited(2, &pair().encode_to_vec())].concat());
    assert_eq!(refusal([delimited(1, &delimited(1, b"m")), entry.repeat(1025)].concat()).message(), sentence);
    let pieces = delimited(2, &[delimited(1, b"x"), delimited(2, &[]).repeat(1025)].concat());
    assert_eq!(refusal(pieces).message(), "a tensor is in more than 1024 pieces");
}
