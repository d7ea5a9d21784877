//! `ModelInferRequest` on its way out: what is written is what was asked, and bytes are shared.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::decode;
use super::requests::{Written, assert_read, raw_or_typed};
use crate::infer::{InferRequest, Member, Target, Timeline, VersionChoice};
use crate::tensor::{DType, Rope, Shape, Tensor};
use crate::wire::PREFIX;
use crate::wire::oip::{Call, Form, forward, request};
use crate::wire::proto::inference::ModelInferRequest;

fn member(id: &str) -> Member {
    let now = Instant::now();
    Member {
        id: id.into(),
        deadline: now + Duration::from_secs(1),
        trace: None,
        previous_attempts: 0,
        timeline: Timeline::start(now),
    }
}

fn asked(call: Call) -> InferRequest {
    let Call { target, id, parameters, inputs, outputs, .. } = call;
    InferRequest { parameters, outputs, ..InferRequest::new(target, inputs, member(&id)) }
}

fn one(data: Rope) -> InferRequest {
    let shape = Shape::new(&[data.len() as i64]).unwrap();
    let tensor = Tensor::new("x".into(), DType::Uint8, shape, data).unwrap();
    InferRequest::new(Target::parse("m".into(), "").unwrap(), [tensor], member("mine"))
}

/// The message behind its prefix.
fn behind_prefix(message: &Rope) -> Bytes {
    let message = message.to_bytes();
    let length = u32::from_be_bytes(message[1..PREFIX].try_into().unwrap());
    assert_eq!((message[0], length as usize), (0, message.len() - PREFIX));
    message.slice(PREFIX..)
}

fn sent(asked: &InferRequest) -> ModelInferRequest {
    ModelInferRequest::decode(behind_prefix(&request(asked))).unwrap()
}

proptest! {
    #[test]
    fn a_call_is_written_as_it_was_asked(written in raw_or_typed()) {
        let message = behind_prefix(&request(&asked(decode(written.message.encode_to_vec().into()).unwrap())));
        let written = Written { form: Form::Raw, ..written };
        assert_read(&decode(message.clone()).unwrap(), &written);
        let read = ModelInferRequest::decode(message).unwrap();
        assert_read(&decode(read.encode_to_vec().into()).unwrap(), &written);
    }

    #[test]
    fn a_received_message_is_forwarded_to_the_byte(written in raw_or_typed()) {
        let message = Bytes::from(written.message.encode_to_vec());
        prop_assert_eq!(behind_prefix(&forward(&message)), message);
    }
}

#[test]
fn a_batch_has_no_id_and_its_parts_are_shared() {
    let parts = [Bytes::from(vec![1; 50_000]), Bytes::from(vec![2; 60_000])];
    let mut data = Rope::default();
    parts.iter().for_each(|part| data.push(part.clone()));
    let mut batch = one(data);
    assert_eq!(sent(&batch).id, "mine");
    batch.members.push(member("another"));
    let message = request(&batch);
    for part in &parts {
        assert!(message.parts().iter().any(|shared| shared.as_ptr() == part.as_ptr()));
    }
    let sent = sent(&batch);
    assert_eq!((sent.id.as_str(), sent.raw_input_contents[0].to_vec()), ("", parts.concat()));
}

#[test]
fn a_label_stands_in_the_versions_place() {
    let mut call = one(vec![1].into());
    call.model.version = VersionChoice::Label("canary".into());
    assert_eq!(sent(&call).model_version, "canary");
}

#[test]
fn an_input_without_elements_has_its_raw_contents_too() {
    assert_eq!(sent(&one(Rope::default())).raw_input_contents, [Bytes::new()]);
}
