//! `ModelInferRequest`: what prost writes is what is read.

use fastrand::Rng;
use proptest::prelude::*;
use prost::Message;

use super::{REQUEST, TYPED, contents, decode, parameters, same_parameters};
use crate::infer::VersionChoice;
use crate::tensor::DType;
use crate::wire::oip::{Call, Form};
use crate::wire::proto::inference::ModelInferRequest;
use crate::wire::proto::inference::infer_parameter::ParameterChoice;
use crate::wire::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::wire::samples::{Sample, model_name, sample};
use crate::wire::scramble::scramble;

/// A message and the tensors in it.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub message: ModelInferRequest,
    pub samples: Vec<Sample>,
    pub form: Form,
}

pub(super) fn raw_or_typed() -> impl Strategy<Value = Written> {
    prop_oneof![written(&DType::ALL, Form::Raw), written(&TYPED, Form::Typed)]
}

fn written(dtypes: &'static [DType], form: Form) -> impl Strategy<Value = Written> {
    let version = prop_oneof![Just(String::new()), (0..=i64::MAX).prop_map(|number| number.to_string())];
    let spec = (model_name(), version, "\\PC{0,12}", parameters());
    let inputs = prop::collection::vec((sample(dtypes), parameters()), 1..4);
    let outputs = prop::collection::vec(output(), 0..3);
    (spec, inputs, outputs).prop_map(move |((model_name, model_version, id, parameters), inputs, outputs)| {
        let samples: Vec<Sample> = inputs.iter().map(|(sample, _)| sample.clone()).collect();
        let raw = if form == Form::Raw { samples.iter().map(|sample| sample.raw().into()).collect() } else { vec![] };
        let input = |(sample, parameters): (Sample, _)| InferInputTensor {
            datatype: sample.dtype.name().into(),
            shape: sample.dims.clone(),
            parameters,
            contents: (form == Form::Typed).then(|| contents(&sample)),
            name: sample.name,
        };
        let message = ModelInferRequest {
            model_name,
            model_version,
            id,
            parameters,
            inputs: inputs.into_iter().map(input).collect(),
            outputs,
            raw_input_contents: raw,
        };
        Written { message, samples, form }
    })
}

fn output() -> impl Strategy<Value = InferRequestedOutputTensor> {
    let classes = prop_oneof![
        (1..=i64::from(u32::MAX)).prop_map(ParameterChoice::Int64Param),
        (1..=u64::from(u32::MAX)).prop_map(ParameterChoice::Uint64Param),
    ];
    ("\\PC{0,9}", parameters(), proptest::option::of(classes)).prop_map(|(name, mut parameters, classes)| {
        if let Some(choice) = classes {
            parameters.entry("classification".into()).or_default().parameter_choice = Some(choice);
        }
        InferRequestedOutputTensor { name, parameters }
    })
}

pub(super) fn assert_read(call: &Call, Written { message, samples, form }: &Written) {
    assert_eq!(call.target.name.as_str(), message.model_name);
    match &call.target.version {
        VersionChoice::Latest => assert_eq!(message.model_version, ""),
        VersionChoice::Exact(version) => assert_eq!(message.model_version, version.to_string()),
        VersionChoice::Label(label) => panic!("version label {label:?}"),
    }
    assert_eq!(*call.id, *message.id);
    assert!(same_parameters(&call.parameters, &message.parameters), "{:?}", call.parameters);
    assert_eq!(call.form, *form);
    assert_eq!(call.inputs.len(), samples.len());
    call.inputs.iter().zip(samples).for_each(|(tensor, sample)| assert!(sample.is(tensor), "{tensor:?}"));
    assert_eq!(call.outputs.len(), message.outputs.len());
    for (read, written) in call.outputs.iter().zip(&message.outputs) {
        assert_eq!(*read.name, *written.name);
        assert_eq!(read.classes, classes(written));
    }
}

fn classes(output: &InferRequestedOutputTensor) -> Option<u32> {
    match output.parameters.get("classification")?.parameter_choice.as_ref()? {
        ParameterChoice::Int64Param(count) => Some(*count as u32),
        ParameterChoice::Uint64Param(count) => Some(*count as u32),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn what_prost_writes_is_read_field_by_field(written in raw_or_typed()) {
        assert_read(&decode(written.message.encode_to_vec().into()).unwrap(), &written);
    }

    #[test]
    fn every_spelling_of_a_message_is_read_alike(written in raw_or_typed(), seed: u64) {
        let message = scramble(&written.message.encode_to_vec(), REQUEST, &mut Rng::with_seed(seed));
        assert_read(&decode(message.into()).unwrap(), &written);
    }

    #[test]
    fn prost_reads_the_other_spellings_alike_too(written in raw_or_typed(), seed: u64) {
        let message = scramble(&written.message.encode_to_vec(), REQUEST, &mut Rng::with_seed(seed));
        let read = ModelInferRequest::decode(&message[..]).unwrap();
        assert_read(&decode(read.encode_to_vec().into()).unwrap(), &written);
    }

    #[test]
    fn a_message_cut_at_any_byte_is_answered_and_never_read_past_its_end(written in raw_or_typed()) {
        let message = bytes::Bytes::from(written.message.encode_to_vec());
        for end in 0..message.len() {
            if decode(message.slice(..end)).is_ok() {
                prop_assert!(ModelInferRequest::decode(message.slice(..end)).is_ok());
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
        if let Ok(call) = decode(message.clone().into()) {
            let read = ModelInferRequest::decode(&message[..]).unwrap();
            prop_assert_eq!(call.target.name.as_str(), read.model_name);
            prop_assert_eq!(call.inputs.len(), read.inputs.len());
        }
    }

    #[test]
    fn any_bytes_are_answered_without_a_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = decode(message.into());
    }
}

#[test]
fn raw_contents_are_shared_with_the_message_and_not_copied() {
    let input = InferInputTensor { name: "x".into(), datatype: "UINT8".into(), shape: vec![100], ..Default::default() };
    let message = ModelInferRequest {
        model_name: "m".into(),
        inputs: vec![input],
        raw_input_contents: vec![vec![7; 100].into()],
        ..Default::default()
    };
    let message = bytes::Bytes::from(message.encode_to_vec());
    let call = decode(message.clone()).unwrap();
    assert!(message.as_ptr_range().contains(&call.inputs[0].data().parts()[0].as_ptr()));
}
