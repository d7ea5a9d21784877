//! `PredictResponse`: what is written is what prost reads.

use proptest::prelude::*;
use prost::Message;

use super::{content, values};
use crate::infer::{InferResponse, Parameters};
use crate::tensor::DType;
use crate::wire::PREFIX;
use crate::wire::proto::tensorflow::serving::model_spec::VersionChoice;
use crate::wire::proto::tensorflow::serving::{ModelSpec, PredictResponse};
use crate::wire::samples::{Sample, answer, sample};
use crate::wire::tfs::{Form, encode};

fn outputs() -> impl Strategy<Value = Vec<Sample>> {
    prop::collection::vec(sample(&DType::ALL), 0..4).prop_map(|mut samples| {
        samples.iter_mut().enumerate().for_each(|(index, sample)| sample.name.push_str(&index.to_string()));
        samples
    })
}

/// The message that is sent for these outputs, as prost reads it.
fn sent(samples: &[Sample], form: Form) -> PredictResponse {
    let response = answer(samples.iter().map(|sample| sample.tensor(3)), Parameters::default());
    let message = encode(&response, form).to_bytes();
    let length = u32::from_be_bytes(message[1..PREFIX].try_into().unwrap());
    assert_eq!((message[0], length as usize), (0, message.len() - PREFIX));
    PredictResponse::decode(message.slice(PREFIX..)).unwrap()
}

proptest! {
    #[test]
    fn outputs_of_every_type_are_what_prost_reads_in_either_form(samples in outputs(), as_content: bool) {
        let form = if as_content { Form::Content } else { Form::Values };
        let response = sent(&samples, form);
        prop_assert_eq!(response.outputs.len(), samples.len());
        for sample in &samples {
            let expected = match form {
                Form::Content if sample.dtype != DType::Bytes => content(sample),
                _ => values(sample, usize::MAX),
            };
            // By their bytes, since a NaN equals nothing.
            let read = response.outputs.get(&sample.name).map(Message::encode_to_vec);
            prop_assert_eq!(read, Some(expected.encode_to_vec()));
        }
    }
}

#[test]
fn the_answer_names_the_version_and_the_signature_that_answered() {
    let version_choice = Some(VersionChoice::Version(7));
    let expected = ModelSpec { name: "resnet".into(), version_choice, signature_name: "serving_default".into() };
    assert_eq!(sent(&[], Form::Values).model_spec, Some(expected));
}

#[test]
fn an_answer_of_a_version_that_is_not_known_names_none() {
    let response = InferResponse { version: None, ..answer([], Parameters::default()) };
    let message = encode(&response, Form::Values).to_bytes();
    let spec = PredictResponse::decode(message.slice(PREFIX..)).unwrap().model_spec.unwrap();
    assert_eq!((spec.name.as_str(), spec.version_choice), ("resnet", None));
}

#[test]
fn large_contents_are_shared_and_not_copied() {
    let large = Sample { name: "y".into(), dtype: DType::Uint8, dims: vec![100_000], elements: vec![vec![2]; 100_000] };
    let response = answer([large.tensor(1)], Parameters::default());
    let message = encode(&response, Form::Content);
    let at = response.outputs[0].data().parts()[0].as_ptr();
    assert!(message.parts().iter().any(|part| part.as_ptr() == at));
}
