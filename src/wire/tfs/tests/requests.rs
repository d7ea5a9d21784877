//! `PredictRequest`: what prost writes is what is read.

use fastrand::Rng;
use proptest::prelude::*;
use prost::Message;

use super::{REQUEST, content, values};
use crate::infer::VersionChoice;
use crate::tensor::DType;
use crate::wire::proto::tensorflow::TensorProto;
use crate::wire::proto::tensorflow::serving::model_spec::VersionChoice as WrittenVersion;
use crate::wire::proto::tensorflow::serving::{ModelSpec, PredictRequest};
use crate::wire::samples::{Sample, model_name, sample};
use crate::wire::scramble::scramble;
use crate::wire::tfs::{Call, Form, SIGNATURE, decode};

const LIMIT: usize = 1 << 20;

/// A message and the tensors in it.
#[derive(Debug, Clone)]
struct Written {
    message: PredictRequest,
    samples: Vec<Sample>,
    form: Form,
}

fn written() -> impl Strategy<Value = Written> {
    let version = prop_oneof![
        Just(None),
        (0..=i64::MAX).prop_map(|number| Some(WrittenVersion::Version(number))),
        "[A-Za-z0-9_]{1,9}".prop_map(|label| Some(WrittenVersion::VersionLabel(label))),
    ];
    let signature = prop_oneof![Just(""), Just(SIGNATURE)];
    let spec = (model_name(), version, signature).prop_map(|(name, version_choice, signature_name)| ModelSpec {
        name,
        version_choice,
        signature_name: signature_name.into(),
    });
    let form = prop_oneof![Just(Form::Content), Just(Form::Values)];
    let samples = prop::collection::vec(sample(&DType::ALL), 1..4);
    let filter = prop::collection::vec("\\PC{0,9}", 0..3);
    (spec, samples, filter, form).prop_map(|(spec, samples, output_filter, form)| {
        let samples = with_names(samples);
        let tensor = |sample: &Sample| match form {
            Form::Content if sample.dtype != DType::Bytes => content(sample),
            _ => values(sample, usize::MAX),
        };
        let inputs = samples.iter().map(|sample| (sample.name.clone(), tensor(sample))).collect();
        let message = PredictRequest { model_spec: Some(spec), inputs, output_filter, ..Default::default() };
        let form = if message.inputs.values().any(|tensor| !tensor.tensor_content.is_empty()) {
            Form::Content
        } else {
            Form::Values
        };
        Written { message, samples, form }
    })
}

/// Inputs are a map here, so that their names must differ.
fn with_names(mut samples: Vec<Sample>) -> Vec<Sample> {
    for (index, sample) in samples.iter_mut().enumerate() {
        sample.name.push_str(&index.to_string());
    }
    samples
}

fn assert_read(call: &Call, Written { message, samples, form }: &Written) {
    let spec = message.model_spec.as_ref().unwrap();
    assert_eq!(call.target.name.as_str(), spec.name);
    match (&call.target.version, &spec.version_choice) {
        (VersionChoice::Latest, None) => {}
        (VersionChoice::Exact(read), Some(WrittenVersion::Version(written))) => assert_eq!(read.number(), *written),
        (VersionChoice::Label(read), Some(WrittenVersion::VersionLabel(written))) => assert_eq!(**read, **written),
        (read, written) => panic!("{read:?} was {written:?}"),
    }
    assert_eq!(call.form, *form);
    assert_eq!(call.inputs.len(), samples.len());
    for sample in samples {
        assert!(call.inputs.iter().any(|tensor| sample.is(tensor)), "{sample:?} is not in {:?}", call.inputs);
    }
    let filter: Vec<&str> = call.outputs.iter().map(|output| &*output.name).collect();
    assert_eq!(filter, message.output_filter);
    assert!(call.outputs.iter().all(|output| output.classes.is_none()));
}

fn read(message: Vec<u8>) -> Call {
    decode(message.into(), LIMIT).unwrap()
}

/// The elements that are read where a tensor of these carries the first `given` of them.
fn filled(sample: &Sample, given: usize) -> Sample {
    let zero = vec![0; sample.dtype.size().unwrap_or(0)];
    let last = given.checked_sub(1).map_or(&zero, |last| &sample.elements[last]);
    let fill = sample.elements.iter().enumerate().map(|(index, element)| if index < given { element } else { last });
    Sample { elements: fill.cloned().collect(), ..sample.clone() }
}

fn of_one(sample: &Sample, tensor: TensorProto) -> Vec<u8> {
    let spec = ModelSpec { name: "m".into(), ..Default::default() };
    let inputs = [(sample.name.clone(), tensor)].into();
    PredictRequest { model_spec: Some(spec), inputs, ..Default::default() }.encode_to_vec()
}

proptest! {
    #[test]
    fn what_prost_writes_is_read_field_by_field(written in written()) {
        assert_read(&read(written.message.encode_to_vec()), &written);
    }

    #[test]
    fn every_spelling_of_a_message_is_read_alike(written in written(), seed: u64) {
        let message = scramble(&written.message.encode_to_vec(), REQUEST, &mut Rng::with_seed(seed));
        assert_read(&read(message), &written);
    }

    #[test]
    fn a_short_list_repeats_its_last_value_and_an_empty_one_means_zeros(
        sample in sample(&DType::ALL),
        given in any::<prop::sample::Index>(),
    ) {
        let given = given.index(sample.elements.len() + 1);
        let call = read(of_one(&sample, values(&sample, given)));
        prop_assert!(filled(&sample, given).is(&call.inputs[0]), "{:?}", call.inputs);
    }

    #[test]
    fn what_a_list_has_too_much_is_left_out(sample in sample(&DType::ALL), surplus in 1..5usize) {
        let more = vec![vec![1; sample.dtype.size().unwrap_or(3)]; surplus];
        let longer = Sample { elements: [&sample.elements[..], &more].concat(), ..sample.clone() };
        let call = read(of_one(&sample, values(&longer, usize::MAX)));
        prop_assert!(sample.is(&call.inputs[0]), "{:?}", call.inputs);
    }

    #[test]
    fn a_message_cut_at_any_byte_is_answered_and_never_read_past_its_end(written in written()) {
        let message = bytes::Bytes::from(written.message.encode_to_vec());
        for end in 0..message.len() {
            if decode(message.slice(..end), LIMIT).is_ok() {
                prop_assert!(PredictRequest::decode(message.slice(..end)).is_ok());
            }
        }
    }

    #[test]
    fn damaged_bytes_are_answered_and_no_more_is_made_of_them_than_there_is_room(
        written in written(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut message = written.message.encode_to_vec();
        for (index, byte) in damage {
            let index = index.index(message.len());
            message[index] = byte;
        }
        let room = message.len() + 1000;
        if let Ok(call) = decode(message.into(), room) {
            prop_assert!(call.inputs.iter().map(|tensor| tensor.data().len()).sum::<usize>() <= room);
        }
    }

    #[test]
    fn any_bytes_are_answered_without_a_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = decode(message.into(), LIMIT);
    }
}

#[test]
fn the_last_of_equal_keys_counts() {
    let sample = |value| Sample { name: "x".into(), dtype: DType::Uint8, dims: vec![1], elements: vec![vec![value]] };
    let (first, last) = (sample(1), sample(2));
    let call = read([of_one(&first, content(&first)), of_one(&last, content(&last))].concat());
    assert_eq!(call.inputs.len(), 1);
    assert!(last.is(&call.inputs[0]));
}

#[test]
fn content_is_shared_with_the_message_and_not_copied() {
    let sample = Sample { name: "x".into(), dtype: DType::Uint8, dims: vec![100], elements: vec![vec![7]; 100] };
    let message = bytes::Bytes::from(of_one(&sample, content(&sample)));
    let call = decode(message.clone(), LIMIT).unwrap();
    assert!(message.as_ptr_range().contains(&call.inputs[0].data().parts()[0].as_ptr()));
}
