//! `ModelInferResponse` on its way in: what prost writes is what is read, in every spelling; what contradicts itself is
//! the backend's failure.

use fastrand::Rng;
use proptest::prelude::*;
use prost::Message;

use super::{RESPONSE, ROOM, TYPED, contents, parameters, same_parameters};
use crate::error::{Kind, Result};
use crate::infer::{Parameters, Version};
use crate::tensor::DType;
use crate::wire::PREFIX;
use crate::wire::oip::{Answer, Form, encode, mirrors};
use crate::wire::proto::inference::infer_parameter::ParameterChoice;
use crate::wire::proto::inference::model_infer_response::InferOutputTensor;
use crate::wire::proto::inference::{InferParameter, InferTensorContents, ModelInferResponse};
use crate::wire::samples::{self, Sample, model_name, sample};
use crate::wire::scramble::{delimited, scramble};

fn answer(message: impl Into<bytes::Bytes>) -> Result<Answer> {
    crate::wire::oip::answer(message.into(), ROOM)
}

/// A message and the tensors in it.
#[derive(Debug, Clone)]
struct Written {
    message: ModelInferResponse,
    samples: Vec<Sample>,
    form: Form,
}

fn raw_or_typed() -> impl Strategy<Value = Written> {
    prop_oneof![written(&DType::ALL, Form::Raw), written(&TYPED, Form::Typed)]
}

fn written(dtypes: &'static [DType], form: Form) -> impl Strategy<Value = Written> {
    let version = prop_oneof!["", "v[0-9]\\.[0-9]", (0..=i64::MAX).prop_map(|number| number.to_string())];
    let spec = (model_name(), version, "\\PC{0,12}", parameters());
    let outputs = prop::collection::vec((sample(dtypes), parameters()), 1..4);
    (spec, outputs).prop_map(move |((model_name, model_version, id, parameters), outputs)| {
        let samples: Vec<Sample> = outputs.iter().map(|(sample, _)| sample.clone()).collect();
        let raw = if form == Form::Raw { samples.iter().map(|sample| sample.raw().into()).collect() } else { vec![] };
        let output = |(sample, parameters): (Sample, _)| InferOutputTensor {
            datatype: sample.dtype.name().into(),
            shape: sample.dims.clone(),
            parameters,
            contents: (form == Form::Typed).then(|| contents(&sample)),
            name: sample.name,
        };
        let outputs = outputs.into_iter().map(output).collect();
        let message =
            ModelInferResponse { model_name, model_version, id, parameters, outputs, raw_output_contents: raw };
        Written { message, samples, form }
    })
}

fn assert_read(answer: &Answer, Written { message, samples, form }: &Written) {
    assert_eq!(answer.model.as_str(), message.model_name);
    assert_eq!(answer.version, message.model_version.parse().ok());
    assert_eq!(*answer.id, *message.id);
    assert!(same_parameters(&answer.parameters, &message.parameters), "{:?}", answer.parameters);
    assert_eq!(answer.form, *form);
    assert_eq!(answer.outputs.len(), samples.len());
    answer.outputs.iter().zip(samples).for_each(|(tensor, sample)| assert!(sample.is(tensor), "{tensor:?}"));
}

proptest! {
    #[test]
    fn what_prost_writes_is_read_field_by_field(written in raw_or_typed()) {
        assert_read(&answer(written.message.encode_to_vec()).unwrap(), &written);
    }

    #[test]
    fn every_spelling_of_an_answer_is_read_alike(written in raw_or_typed(), seed: u64) {
        let message = scramble(&written.message.encode_to_vec(), RESPONSE, &mut Rng::with_seed(seed));
        assert_read(&answer(message.clone()).unwrap(), &written);
        let read = ModelInferResponse::decode(&message[..]).unwrap();
        assert_read(&answer(read.encode_to_vec()).unwrap(), &written);
    }

    #[test]
    fn every_spelling_of_an_answer_mirrors_the_same_calls(written in raw_or_typed(), seed: u64) {
        let message = scramble(&written.message.encode_to_vec(), RESPONSE, &mut Rng::with_seed(seed)).into();
        let other = if written.form == Form::Raw { Form::Typed } else { Form::Raw };
        prop_assert!(mirrors(&message, &written.message.id, written.form));
        prop_assert!(!mirrors(&message, &written.message.id, other));
        let other = written.message.id + "+";
        prop_assert!(!mirrors(&message, &other, written.form));
    }

    #[test]
    fn our_own_answers_are_read_as_they_were_meant(
        samples in prop::collection::vec(sample(&TYPED), 1..4),
        id in "\\PC{0,12}",
        is_raw: bool,
    ) {
        let form = if is_raw { Form::Raw } else { Form::Typed };
        let response = samples::answer(samples.iter().map(|sample| sample.tensor(2)), Parameters::default());
        let read = answer(encode(&response, &id, form).to_bytes().slice(PREFIX..)).unwrap();
        prop_assert_eq!((read.model, read.version, read.form), (response.model, Version::new(7), form));
        prop_assert_eq!((&*read.id, read.outputs), (id.as_str(), response.outputs));
    }

    #[test]
    fn an_answer_cut_at_any_byte_is_read_or_refused_and_never_read_past_its_end(written in raw_or_typed()) {
        let message = bytes::Bytes::from(written.message.encode_to_vec());
        for end in 0..message.len() {
            if answer(message.slice(..end)).is_ok() {
                prop_assert!(ModelInferResponse::decode(message.slice(..end)).is_ok());
            }
        }
    }

    #[test]
    fn damaged_bytes_are_read_only_where_prost_would_read_them(
        written in raw_or_typed(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut message = written.message.encode_to_vec();
        for (index, byte) in damage {
            let index = index.index(message.len());
            message[index] = byte;
        }
        _ = mirrors(&message.clone().into(), "", Form::Raw);
        if let Ok(answer) = answer(message.clone()) {
            let read = ModelInferResponse::decode(&message[..]).unwrap();
            prop_assert_eq!(answer.model.as_str(), read.model_name);
            prop_assert_eq!(answer.outputs.len(), read.outputs.len());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = mirrors(&message.clone().into(), "", Form::Typed);
        _ = answer(message);
    }
}

/// A raw answer of `m` with one output `y`, two elements of UINT8.
fn response() -> ModelInferResponse {
    ModelInferResponse {
        model_name: "m".into(),
        outputs: vec![output("UINT8", &[2])],
        raw_output_contents: vec![vec![1, 2].into()],
        ..Default::default()
    }
}

fn output(datatype: &str, dims: &[i64]) -> InferOutputTensor {
    InferOutputTensor { name: "y".into(), datatype: datatype.into(), shape: dims.to_vec(), ..Default::default() }
}

/// What is said of a bad answer, which is the backend's doing whatever is wrong with it.
#[track_caller]
fn refused(message: impl Into<bytes::Bytes>) -> String {
    let error = answer(message).map(|answer| panic!("it was taken: {answer:?}")).unwrap_err();
    assert_eq!(error.kind(), Kind::Engine);
    error.message().strip_prefix("the backend's answer: ").expect("it says whose").to_owned()
}

#[test]
fn an_answer_that_contradicts_itself_is_the_backends_failure_in_words() {
    assert!(answer(response().encode_to_vec()).is_ok());
    let with = |change: fn(&mut ModelInferResponse)| {
        let mut changed = response();
        change(&mut changed);
        refused(changed.encode_to_vec())
    };
    let short = with(|answer| answer.raw_output_contents[0] = vec![1].into());
    assert_eq!(short, "output \"y\": shape [2] of UINT8 takes 2 bytes, got 1");
    let surplus = with(|answer| answer.raw_output_contents.push(vec![1].into()));
    assert_eq!(surplus, "1 outputs, but 2 raw_output_contents");
    let mixed = with(|answer| answer.outputs[0].contents = Some(InferTensorContents::default()));
    assert_eq!(mixed, "output \"y\" has contents, but raw_output_contents are used");
    let unknown = with(|answer| answer.outputs[0].datatype = "FLOAT".into());
    assert_eq!(unknown, "output \"y\": unknown datatype \"FLOAT\"");
    let negative = with(|answer| answer.outputs[0].shape = vec![-1]);
    assert_eq!(negative, "output \"y\": shape [-1] has the negative dimension -1");
    let nameless = with(|answer| answer.model_name.clear());
    assert!(nameless.starts_with("model name \"\" is not"), "{nameless}");
    assert_eq!(refused(vec![0x0a, 9]), "malformed message: it ends inside a field");
}

#[test]
fn outputs_in_shared_memory_and_half_floats_in_typed_form_are_refused() {
    let region = InferParameter { parameter_choice: Some(ParameterChoice::StringParam("r".into())) };
    let mut shared = response();
    shared.outputs[0].parameters = [("shared_memory_region".into(), region)].into();
    assert_eq!(refused(shared.encode_to_vec()), "output \"y\": tensors in shared memory are not served");
    let typed = ModelInferResponse { outputs: vec![output("FP16", &[1])], raw_output_contents: vec![], ..response() };
    let only_raw = "output \"y\": FP16 data can only be given in raw_output_contents";
    assert_eq!(refused(typed.encode_to_vec()), only_raw);
}

#[test]
fn what_an_answer_grows_to_is_bounded() {
    let contents = InferTensorContents { int64_contents: vec![1; 1000], ..Default::default() };
    let outputs = vec![InferOutputTensor { contents: Some(contents), ..output("INT64", &[1000]) }];
    let typed = ModelInferResponse { outputs, raw_output_contents: vec![], ..response() };
    let message: bytes::Bytes = typed.encode_to_vec().into();
    assert!(crate::wire::oip::answer(message.clone(), 8000).is_ok());
    let error = crate::wire::oip::answer(message, 7999).unwrap_err();
    assert_eq!((error.kind(), error.message().contains("more than the 7999 bytes")), (Kind::Engine, true), "{error}");

    let sentence = "more than 4096 tensors, outputs and parameters";
    assert_eq!(refused(delimited(6, &[]).repeat(4097)), sentence);
    assert_eq!(refused(delimited(5, &delimited(5, &[]).repeat(4097))), sentence);
}

#[test]
fn raw_outputs_are_shared_with_the_message_and_not_copied() {
    let message = bytes::Bytes::from(response().encode_to_vec());
    let read = answer(message.clone()).unwrap();
    assert!(message.as_ptr_range().contains(&read.outputs[0].data().parts()[0].as_ptr()));
}

#[test]
fn an_answer_without_outputs_mirrors_calls_of_either_form() {
    let message = ModelInferResponse { model_name: "m".into(), ..Default::default() }.encode_to_vec().into();
    assert!(mirrors(&message, "", Form::Raw) && mirrors(&message, "", Form::Typed));
    assert!(!mirrors(&message, "mine", Form::Raw));
}
