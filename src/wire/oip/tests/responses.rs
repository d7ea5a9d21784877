//! `ModelInferResponse`: what is written is what prost reads; and the way there and back.

use proptest::prelude::*;
use prost::Message;

use super::{TYPED, contents, decode, parameters, same_parameters};
use crate::infer::{InferResponse, Parameter, Parameters};
use crate::tensor::DType;
use crate::wire::PREFIX;
use crate::wire::oip::{Form, encode};
use crate::wire::proto::inference::infer_parameter::ParameterChoice;
use crate::wire::proto::inference::model_infer_request::InferInputTensor;
use crate::wire::proto::inference::{ModelInferRequest, ModelInferResponse};
use crate::wire::samples::{Sample, answer, sample};

fn outputs(dtypes: &'static [DType]) -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec(sample(dtypes), 0..4)
}

/// The message that is sent for these outputs, as prost reads it.
fn sent(samples: &[Sample], parameters: Parameters, id: &str, form: Form) -> ModelInferResponse {
    let response = answer(samples.iter().map(|sample| sample.tensor(3)), parameters);
    let message = encode(&response, id, form).to_bytes();
    let length = u32::from_be_bytes(message[1..PREFIX].try_into().unwrap());
    assert_eq!((message[0], length as usize), (0, message.len() - PREFIX));
    ModelInferResponse::decode(message.slice(PREFIX..)).unwrap()
}

fn assert_heads(response: &ModelInferResponse, samples: &[Sample]) {
    assert_eq!((&*response.model_name, &*response.model_version), ("resnet", "7"));
    assert_eq!(response.outputs.len(), samples.len());
    for (output, sample) in response.outputs.iter().zip(samples) {
        assert_eq!((&output.name, &*output.datatype), (&sample.name, sample.dtype.name()));
        assert_eq!(output.shape, sample.dims);
    }
}

fn parameter(choice: &ParameterChoice) -> Parameter {
    match choice {
        ParameterChoice::BoolParam(value) => Parameter::Bool(*value),
        ParameterChoice::Int64Param(value) => Parameter::Int(*value),
        ParameterChoice::StringParam(value) => Parameter::String(value.as_str().into()),
        ParameterChoice::DoubleParam(value) => Parameter::Double(*value),
        ParameterChoice::Uint64Param(value) => Parameter::Uint(*value),
    }
}

proptest! {
    #[test]
    fn raw_outputs_of_every_type_are_what_prost_reads(samples in outputs(&DType::ALL), id in "\\PC{0,12}") {
        let response = sent(&samples, Parameters::default(), &id, Form::Raw);
        assert_heads(&response, &samples);
        prop_assert_eq!(response.id, id);
        prop_assert!(response.outputs.iter().all(|output| output.contents.is_none()));
        let raw: Vec<Vec<u8>> = samples.iter().map(Sample::raw).collect();
        prop_assert_eq!(response.raw_output_contents, raw);
    }

    #[test]
    fn typed_outputs_of_every_type_that_has_a_list_are_what_prost_reads(samples in outputs(&TYPED)) {
        let response = sent(&samples, Parameters::default(), "", Form::Typed);
        assert_heads(&response, &samples);
        prop_assert!(response.raw_output_contents.is_empty());
        for (output, sample) in response.outputs.iter().zip(&samples) {
            // By their bytes, since a NaN equals nothing.
            let read = output.contents.as_ref().map(Message::encode_to_vec);
            prop_assert_eq!(read, Some(contents(sample).encode_to_vec()));
        }
    }

    #[test]
    fn every_parameter_arrives(written in parameters()) {
        let mut parameters = Parameters::default();
        for (name, value) in &written {
            parameters.set(name.as_str().into(), parameter(value.parameter_choice.as_ref().unwrap()));
        }
        let response = sent(&[], parameters.clone(), "", Form::Raw);
        prop_assert!(same_parameters(&parameters, &response.parameters));
    }

    #[test]
    fn typed_contents_survive_the_way_in_and_out(sample in sample(&TYPED)) {
        let there = contents(&sample);
        let input = InferInputTensor {
            name: sample.name,
            datatype: sample.dtype.name().into(),
            shape: sample.dims,
            contents: Some(there.clone()),
            ..Default::default()
        };
        let request = ModelInferRequest { model_name: "m".into(), inputs: vec![input], ..Default::default() };
        let call = decode(request.encode_to_vec().into()).unwrap();
        let message = encode(&answer(call.inputs, Parameters::default()), "", call.form).to_bytes();
        let back = ModelInferResponse::decode(message.slice(PREFIX..)).unwrap();
        let back = back.outputs[0].contents.as_ref().map(Message::encode_to_vec);
        prop_assert_eq!(back, Some(there.encode_to_vec()));
    }
}

fn one(dtype: DType, elements: &[&[u8]]) -> Sample {
    let elements: Vec<Vec<u8>> = elements.iter().map(|element| element.to_vec()).collect();
    Sample { name: "y".into(), dtype, dims: vec![elements.len() as i64], elements }
}

#[test]
fn negative_narrow_integers_keep_their_sign() {
    let response = sent(&[one(DType::Int8, &[&[0x80], &[0xff]])], Parameters::default(), "", Form::Typed);
    assert_eq!(response.outputs[0].contents.as_ref().unwrap().int_contents, [-128, -1]);
    let response = sent(&[one(DType::Int64, &[&i64::MIN.to_le_bytes()])], Parameters::default(), "", Form::Typed);
    assert_eq!(response.outputs[0].contents.as_ref().unwrap().int64_contents, [i64::MIN]);
}

#[test]
fn half_floats_answer_raw_even_to_a_typed_request() {
    let samples = [one(DType::Fp32, &[&[0, 0, 0x80, 0x3f]]), one(DType::Bf16, &[&[0x80, 0x3f]])];
    let response = sent(&samples, Parameters::default(), "", Form::Typed);
    assert!(response.outputs.iter().all(|output| output.contents.is_none()));
    assert_eq!(response.raw_output_contents, [&[0, 0, 0x80, 0x3f][..], &[0x80, 0x3f]]);
}

#[test]
fn an_answer_of_a_version_that_is_not_known_names_none() {
    let response = InferResponse { version: None, ..answer([], Parameters::default()) };
    let message = encode(&response, "", Form::Raw).to_bytes();
    assert_eq!(ModelInferResponse::decode(message.slice(PREFIX..)).unwrap().model_version, "");
}

#[test]
fn large_raw_outputs_are_shared_and_not_copied() {
    let (small, large) = (one(DType::Uint8, &[&[1]]), one(DType::Uint8, &vec![&[2][..]; 100_000]));
    let response = answer([small.tensor(1), large.tensor(1)], Parameters::default());
    let message = encode(&response, "id", Form::Raw);
    let at = response.outputs[1].data().parts()[0].as_ptr();
    assert!(message.parts().iter().any(|part| part.as_ptr() == at));
}
