//! What contradicts itself is refused with a sentence that names the object and both values.

use prost::Message;

use super::contents;
use super::decode;
use crate::error::{Error, Kind};
use crate::tensor::DType;
use crate::wire::oip::Call;
use crate::wire::proto::inference::infer_parameter::ParameterChoice;
use crate::wire::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::proto::inference::{InferParameter, InferTensorContents, ModelInferRequest};
use crate::wire::samples::Sample;
use crate::wire::scramble::delimited;

/// A raw request for `m` of one input `x`, two elements of UINT8.
fn request() -> ModelInferRequest {
    ModelInferRequest {
        model_name: "m".into(),
        inputs: vec![input("UINT8", &[2])],
        raw_input_contents: vec![vec![1, 2].into()],
        ..Default::default()
    }
}

fn input(datatype: &str, dims: &[i64]) -> InferInputTensor {
    InferInputTensor { name: "x".into(), datatype: datatype.into(), shape: dims.to_vec(), ..Default::default() }
}

fn typed(datatype: &str, dims: &[i64], contents: InferTensorContents) -> ModelInferRequest {
    let input = InferInputTensor { contents: Some(contents), ..input(datatype, dims) };
    ModelInferRequest { model_name: "m".into(), inputs: vec![input], ..Default::default() }
}

fn raw(datatype: &str, dims: &[i64], bytes: &[u8]) -> ModelInferRequest {
    let contents = vec![bytes.to_vec().into()];
    ModelInferRequest { inputs: vec![input(datatype, dims)], raw_input_contents: contents, ..request() }
}

fn refusal(message: impl Into<bytes::Bytes>) -> Error {
    decode(message.into()).map(|call: Call| panic!("it was taken: {call:?}")).unwrap_err()
}

/// The sentence with which a request is refused as invalid.
#[track_caller]
fn invalid(request: &ModelInferRequest) -> String {
    let error = refusal(request.encode_to_vec());
    assert_eq!(error.kind(), Kind::Invalid);
    error.to_string()
}

#[test]
fn the_request_that_the_others_deviate_from_is_taken() {
    assert!(decode(request().encode_to_vec().into()).is_ok());
}

#[test]
fn raw_and_typed_contents_do_not_mix() {
    let mut request = request();
    request.inputs[0].contents = Some(InferTensorContents { uint_contents: vec![1, 2], ..Default::default() });
    assert_eq!(invalid(&request), "input \"x\" has contents, but raw_input_contents are used");
}

#[test]
fn raw_contents_are_as_many_as_inputs() {
    let mut surplus = request();
    surplus.raw_input_contents.push(vec![3].into());
    assert_eq!(invalid(&surplus), "1 inputs, but 2 raw_input_contents");
    let mut missing = request();
    missing.inputs.push(input("UINT8", &[2]));
    assert_eq!(invalid(&missing), "2 inputs, but 1 raw_input_contents");
    let none = ModelInferRequest { inputs: vec![], ..request() };
    assert_eq!(invalid(&none), "0 inputs, but 1 raw_input_contents");
}

#[test]
fn a_byte_count_agrees_with_the_shape() {
    assert_eq!(invalid(&raw("FP32", &[2, 2], &[0; 15])), "input \"x\": shape [2,2] of FP32 takes 16 bytes, got 15");
    assert_eq!(invalid(&raw("INT8", &[0], &[0])), "input \"x\": shape [0] of INT8 takes 0 bytes, got 1");
    assert_eq!(invalid(&raw("INT8", &[], &[])), "input \"x\": shape [] of INT8 takes 1 bytes, got 0");
    let few = InferTensorContents { fp32_contents: vec![1.0; 3], ..Default::default() };
    assert_eq!(invalid(&typed("FP32", &[4], few)), "input \"x\": shape [4] of FP32 takes 16 bytes, got 12");
}

#[test]
fn shapes_neither_overflow_nor_go_below_zero() {
    let huge = 1 << 40;
    let overflow = "input \"x\": shape [1099511627776,1099511627776] overflows";
    assert_eq!(invalid(&raw("INT8", &[huge, huge], &[])), overflow);
    assert_eq!(invalid(&raw("INT8", &[0, i64::MAX, 2], &[])), "input \"x\": shape [0,9223372036854775807,2] overflows");
    let bytes = "input \"x\": shape [4611686018427387904] of FP64 overflows";
    assert_eq!(invalid(&raw("FP64", &[1 << 62], &[])), bytes);
    assert_eq!(invalid(&raw("INT8", &[-1, 2], &[])), "input \"x\": shape [-1,2] has the negative dimension -1");
}

#[test]
fn an_endless_rank_is_refused_before_it_is_kept() {
    assert_eq!(invalid(&raw("INT8", &[1; 17], &[0])), "input \"x\": rank 17 is over the limit of 16");
    assert_eq!(invalid(&raw("INT8", &vec![1; 100_000], &[0])), "input \"x\": rank 100000 is over the limit of 16");
}

#[test]
fn an_unknown_datatype_is_named_and_cut() {
    assert_eq!(invalid(&raw("FLOAT", &[2], &[0; 8])), "input \"x\": unknown datatype \"FLOAT\"");
    assert_eq!(invalid(&raw("fp32", &[2], &[0; 8])), "input \"x\": unknown datatype \"fp32\"");
    assert_eq!(invalid(&raw("", &[2], &[0; 8])), "input \"x\": unknown datatype \"\"");
    assert!(invalid(&raw(&"F".repeat(5000), &[2], &[0; 8])).len() < 100);
}

#[test]
fn half_floats_are_given_raw() {
    let contents = InferTensorContents { fp32_contents: vec![1.0], ..Default::default() };
    let only_raw = "input \"x\": FP16 data can only be given in raw_input_contents";
    assert_eq!(invalid(&typed("FP16", &[1], contents)), only_raw);
    let only_raw = "input \"x\": BF16 data can only be given in raw_input_contents";
    assert_eq!(invalid(&typed("BF16", &[1], InferTensorContents::default())), only_raw);
}

#[test]
fn each_type_has_one_list() {
    let wrong = InferTensorContents { int_contents: vec![1, 2], ..Default::default() };
    let sentence = "input \"x\": FP32 data belongs into fp32_contents, got int_contents";
    assert_eq!(invalid(&typed("FP32", &[2], wrong.clone())), sentence);
    let sentence = "input \"x\": INT64 data belongs into int64_contents, got int_contents";
    assert_eq!(invalid(&typed("INT64", &[2], wrong)), sentence);
}

#[test]
fn a_list_of_another_wire_type_is_malformed() {
    // A varint where a float's four bytes belong: field 6 of the contents, wire type 0.
    let contents = delimited(5, &[6 << 3, 1]);
    let tensor = [input("FP32", &[1]).encode_to_vec(), contents].concat();
    let error = refusal([delimited(1, b"m"), delimited(5, &tensor)].concat());
    let sentence = "input \"x\": malformed message: a list of elements has another wire type than its number says";
    assert_eq!(error.message(), sentence);
}

#[test]
fn strings_end_where_their_lengths_say() {
    let cut = "input \"x\": a BYTES length needs 4 bytes, 2 are left";
    assert_eq!(invalid(&raw("BYTES", &[2], &[1, 0, 0, 0, b'a', 1, 0])), cut);
    let short = "input \"x\": a BYTES element says 9 bytes, 1 are left";
    assert_eq!(invalid(&raw("BYTES", &[1], &[9, 0, 0, 0, b'a'])), short);
    let few = "input \"x\": shape [2] takes 2 BYTES elements, got 1";
    assert_eq!(invalid(&raw("BYTES", &[2], &[1, 0, 0, 0, b'a'])), few);
}

#[test]
fn a_model_name_cannot_leave_its_folder() {
    for name in ["", "a/b", "..", "../x", "a\0b", ".hidden"] {
        let request = ModelInferRequest { model_name: name.into(), ..request() };
        let sentence = invalid(&request);
        assert!(sentence.starts_with(&format!("model name {name:?} is not")), "{sentence}");
    }
}

#[test]
fn a_version_is_a_plain_number() {
    for version in ["1.0", "1 ", "latest", "-1", "01"] {
        let request = ModelInferRequest { model_version: version.into(), ..request() };
        assert_eq!(invalid(&request), format!("model version {version:?} is not a decimal number"));
    }
}

#[test]
fn text_is_utf8() {
    for number in 1..=3 {
        let message = [request().encode_to_vec(), delimited(number, &[0xff, 0xfe])].concat();
        assert_eq!(refusal(message).message(), "malformed message: a string is not UTF-8");
    }
}

fn with_parameter(name: &str, choice: ParameterChoice) -> InferParameterMap {
    [(name.to_owned(), InferParameter { parameter_choice: Some(choice) })].into()
}

type InferParameterMap = std::collections::HashMap<String, InferParameter>;

#[test]
fn shared_memory_is_not_served() {
    let region = with_parameter("shared_memory_region", ParameterChoice::StringParam("r".into()));
    let mut request = request();
    request.inputs[0].parameters = region.clone();
    let error = refusal(request.encode_to_vec());
    assert_eq!(
        (error.kind(), error.message()),
        (Kind::Unsupported, "input \"x\": tensors in shared memory are not served")
    );
    request.inputs[0].parameters.clear();
    request.outputs = vec![InferRequestedOutputTensor { name: "y".into(), parameters: region }];
    let error = refusal(request.encode_to_vec());
    assert_eq!(
        (error.kind(), error.message()),
        (Kind::Unsupported, "output \"y\": tensors in shared memory are not served")
    );
}

#[test]
fn a_count_of_classes_is_a_positive_integer() {
    use ParameterChoice::*;
    for choice in [Int64Param(0), Int64Param(-1), Int64Param(1 << 32), Uint64Param(0), StringParam("3".into())] {
        let parameters = with_parameter("classification", choice);
        let outputs = vec![InferRequestedOutputTensor { name: "y".into(), parameters }];
        let sentence = "output \"y\": parameter \"classification\" must be a positive integer";
        assert_eq!(invalid(&ModelInferRequest { outputs, ..request() }), sentence);
    }
}

#[test]
fn a_parameter_without_a_value_is_refused() {
    let parameters = [("p".to_owned(), InferParameter::default())].into();
    assert_eq!(invalid(&ModelInferRequest { parameters, ..request() }), "parameter \"p\" has no value");
}

#[test]
fn entries_are_counted_wherever_they_are() {
    let many = |count: usize| (0..count).map(|index| (format!("p{index}"), ParameterChoice::BoolParam(true)));
    let parameters = |count| -> InferParameterMap {
        many(count).map(|(name, choice)| (name, InferParameter { parameter_choice: Some(choice) })).collect()
    };
    let sentence = "more than 4096 tensors, outputs and parameters";
    assert_eq!(invalid(&ModelInferRequest { parameters: parameters(4097), ..request() }), sentence);
    let mut in_an_input = request();
    in_an_input.inputs[0].parameters = parameters(4097);
    assert_eq!(invalid(&in_an_input), sentence);
    let outputs = vec![InferRequestedOutputTensor { name: "y".into(), parameters: parameters(4097) }];
    assert_eq!(invalid(&ModelInferRequest { outputs, ..request() }), sentence);
    let pieces = delimited(5, &delimited(5, &[]).repeat(4097));
    assert_eq!(refusal([request().encode_to_vec(), pieces].concat()).message(), sentence);
}

#[test]
fn names_in_sentences_are_escaped() {
    let sample = Sample { name: "x".into(), dtype: DType::Uint8, dims: vec![1], elements: vec![vec![1]] };
    let mut request = typed("UINT8", &[2], contents(&sample));
    request.inputs[0].name = "a\": \n\0".into();
    assert_eq!(invalid(&request), "input \"a\\\": \\n\\0\": shape [2] of UINT8 takes 2 bytes, got 1");
}

#[test]
fn typed_elements_that_grow_past_the_limit_are_refused_before_they_are_all_there() {
    let input = InferInputTensor {
        name: "x".into(),
        datatype: "INT64".into(),
        shape: vec![1000],
        contents: Some(InferTensorContents { int64_contents: vec![1; 1000], ..Default::default() }),
        ..Default::default()
    };
    let request = ModelInferRequest { model_name: "m".into(), inputs: vec![input], ..Default::default() };
    let message: bytes::Bytes = request.encode_to_vec().into();
    assert!(crate::wire::oip::decode(message.clone(), 8000).is_ok());
    let error = crate::wire::oip::decode(message, 7999).unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
    assert_eq!(error.message(), "input \"x\": the elements take more than the 7999 bytes that a message may have");
}
