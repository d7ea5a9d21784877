//! Backends that fail in every way that they can.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use infergate::wire::proto::inference as proto;
use tonic::Code;

use super::{Callers, call, code, freed, more_answers, worker};
use crate::harness::{
    Deed, Fronting, INFER, Model, Part, Serving, Standing, echo, eventually, framed, refused_for, tensor, within,
};
use infergate::tensor::DType;

/// Two backends, which get calls by turns.
async fn pair(one: &Part, other: &Part) -> (Standing, Standing, Fronting) {
    let (one, other) = (Standing::of(one).await, Standing::of(other).await);
    let by_turns =
        |config: &mut infergate::config::Config| config.balance.policy = infergate::config::PickBy::RoundRobin;
    let fronting = Fronting::with(&[one.address(), other.address()], by_turns).await;
    (one, other, fronting)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_under_load_is_not_noticed_by_callers_of_a_pure_model() {
    let model = || Model::echo().settings("pure = true");
    let stays = worker([model()]).await;
    let mut dies = worker([model()]).await;
    let fronting = Fronting::of(&[stays.grpc(), dies.grpc()]).await;
    let callers = Callers::of(&fronting, 8).await;
    more_answers(&fronting, 50).await;
    let address = dies.grpc();
    dies.kill();
    freed(address).await;
    more_answers(&fronting, 100).await;
    let back = Serving::with([model()], |config| config.listen = address).await;
    let calls_back = async || back.totals().answered > 20;
    eventually("the worker that is back gets calls", calls_back).await;
    let ends = callers.rest().await;
    assert_eq!(ends.keys().collect::<Vec<_>>(), ["answered"], "{ends:?}");
    fronting.finish().await;
    stays.finish().await;
    dies.finish().await;
    back.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_under_load_costs_a_model_that_must_run_once_only_what_it_had() {
    let slow =
        |taken: &crate::harness::Taken| Deed::After(Duration::from_millis(5), Box::new(Deed::Answer(taken.echo())));
    let (one, other) = (Part::of(false, slow), Part::of(false, slow));
    let (stays, dies, fronting) = pair(&one, &other).await;
    let callers = Callers::of(&fronting, 8).await;
    more_answers(&fronting, 50).await;
    drop(dies);
    more_answers(&fronting, 100).await;
    let mut ends = callers.rest().await;
    ends.remove("answered");
    assert!(ends.keys().all(|end| end.starts_with("Unavailable: backend ")), "{ends:?}");
    assert!(ends.values().sum::<usize>() <= 8, "{ends:?}");
    let totals = fronting.finish().await;
    // Some may have been on their way to who died.
    let ran = (one.taken().len() + other.taken().len()) as u64;
    assert!(totals.answered <= ran && ran <= totals.accepted, "{ran} ran: {totals:?}");
    drop(stays);
}

#[tokio::test]
async fn a_backend_without_room_is_passed_over_and_where_all_are_full_the_caller_is_told_so() {
    let full = |_: &_| Deed::Fail(Code::ResourceExhausted, "no room");
    let (one, other) = (Part::of(false, full), Part::of(false, |taken| Deed::Answer(taken.echo())));
    let (at, _other, fronting) = pair(&one, &other).await;
    let mut client = fronting.oip().await;
    for _ in 0..40 {
        call(&mut client, 1.0).await.unwrap();
    }
    assert!(!one.taken().is_empty());
    assert_eq!(fronting.breaker(at.address()).await, "admitting", "to be full is no fault");
    other.plays(full);
    let answer = fronting.raw().await.call(INFER, &[], framed(&echo(&[1.0]))).await;
    assert_eq!((answer.code(), &*answer.message()), (Code::ResourceExhausted, "no room"));
    assert_eq!(refused_for(fronting.admin(), "backend").await, 1);
    fronting.finish().await;
}

#[tokio::test]
async fn a_single_backend_without_room_is_quoted() {
    let part = Part::of(true, |_| Deed::Fail(Code::ResourceExhausted, "no room"));
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let status = call(&mut fronting.oip().await, 1.0).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "no room"));
    part.plays(|_| Deed::Reset(Reason::REFUSED_STREAM));
    let status = call(&mut fronting.oip().await, 1.0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("was lost with the call"), "{status:?}");
    fronting.finish().await;
}

#[tokio::test]
async fn a_backend_that_fails_fast_attracts_no_calls_and_its_breaker_is_seen() {
    let (broken, well) = (Part::of(true, |_| Deed::Fail(Code::Internal, "broken")), Part::echo());
    let (at, _well, fronting) = pair(&broken, &well).await;
    let mut client = fronting.oip().await;
    let mut failed = 0;
    for _ in 0..200 {
        match call(&mut client, 1.0).await {
            Ok(_) => {}
            Err(status) => {
                assert_eq!((status.code(), status.message()), (Code::Internal, "broken"));
                failed += 1;
            }
        }
    }
    assert!((1..=8).contains(&failed), "{failed}");
    let told = fronting.endpoint(at.address()).await;
    assert_eq!(told["models"][0]["breaker"], "ejected", "{told}");
    assert!(told["models"][0]["why"].as_str().unwrap().contains("broken"), "{told}");
    broken.plays(|taken| Deed::Answer(taken.echo()));
    eventually("it admits again", async || {
        call(&mut client.clone(), 1.0).await.unwrap();
        fronting.breaker(at.address()).await == "admitting"
    })
    .await;
    fronting.finish().await;
}

#[tokio::test]
async fn a_backend_that_freezes_is_given_up_long_before_deadlines_and_is_back_when_it_thaws() {
    let (freezes, well) = (Part::echo(), Part::echo());
    let (at, _well, fronting) = pair(&freezes, &well).await;
    let callers = Callers::of(&fronting, 6).await;
    more_answers(&fronting, 50).await;
    freezes.freeze(true);
    more_answers(&fronting, 300).await;
    eventually("it is given up", async || fronting.endpoint(at.address()).await["connection"] != "connected").await;
    more_answers(&fronting, 300).await;
    let before = freezes.taken().len();
    freezes.freeze(false);
    eventually("it is back", async || freezes.taken().len() > before + 20).await;
    let ends = callers.rest().await;
    assert_eq!(ends.keys().collect::<Vec<_>>(), ["answered"], "{ends:?}");
    fronting.finish().await;
}

#[tokio::test]
async fn a_frozen_process_whose_kernel_takes_connections_is_not_thought_to_be_there() {
    let part = Part::echo();
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    part.freeze(true);
    let raw = fronting.raw().await;
    let answer = raw.call(INFER, &[("grpc-timeout", "20S")], framed(&echo(&[1.0]))).await;
    assert_eq!(answer.code(), Code::Unavailable);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_ne!(fronting.endpoint(backend.address()).await["connection"], "connected");
        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(20)).await;
    }
    part.freeze(false);
    fronting.knows(1).await;
    fronting.answers_as_ever().await;
    fronting.finish().await;
}

#[tokio::test]
async fn answers_that_break_off_or_make_no_sense_are_failures_of_their_backend() {
    let part = Part::of(false, |_| Deed::Never);
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let whole = Part::echo();
    let probe = Standing::of(&whole).await;
    drop(probe);
    let sized = |shape: &[i64], bytes: usize| {
        let input = tensor("y", DType::Fp32, shape);
        framed(&proto::ModelInferResponse {
            model_name: "echo".to_owned(),
            model_version: "1".to_owned(),
            outputs: vec![proto::model_infer_response::InferOutputTensor {
                name: input.name,
                datatype: input.datatype,
                shape: input.shape,
                ..Default::default()
            }],
            raw_output_contents: vec![Bytes::from(vec![0; bytes])],
            ..Default::default()
        })
    };
    let long = {
        let mut long = sized(&[1], 4).to_vec();
        long.extend(sized(&[1], 4));
        Bytes::from(long)
    };
    for (deed, expected) in [
        (Deed::Answer(sized(&[2], 4)), Code::Internal),
        (Deed::Answer(sized(&[i64::MAX, i64::MAX], 4)), Code::Internal),
        (Deed::Answer(sized(&[-1], 4)), Code::Internal),
        (Deed::Answer(Bytes::from_static(b"\0\0\0\0\x03\xff\xff\xff")), Code::Internal),
        (Deed::Answer(Bytes::from_static(b"\0\xff\xff\xff\xff")), Code::Internal),
        (Deed::Answer(Bytes::from_static(b"\x01\0\0\0\0")), Code::Internal),
        (Deed::Answer(Bytes::from_static(b"\0\0\0\0\x09abc")), Code::Internal),
        (Deed::Answer(Bytes::new()), Code::Internal),
        (Deed::Answer(long), Code::Internal),
        (Deed::Reset(Reason::INTERNAL_ERROR), Code::Unavailable),
        (Deed::Reset(Reason::CANCEL), Code::Unavailable),
        (Deed::Cut, Code::Unavailable),
        (Deed::HalfAndCut(Bytes::from_static(b"\0\0\0\0\x09abc")), Code::Unavailable),
        (Deed::HalfAndCut(Bytes::new()), Code::Unavailable),
    ] {
        let script = deed.clone();
        part.plays(move |_| script.clone());
        let before = part.taken().len();
        let mut client = fronting.oip().await;
        let result = call(&mut client, 1.0).await;
        assert_eq!(code(&result), expected, "{deed:?}: {result:?}");
        assert_eq!(part.taken().len(), before + 1, "what may have run is not run again: {deed:?}");
        // So that no row of failures has it ejected.
        part.plays(|taken| Deed::Answer(taken.echo()));
        eventually("it answers again", async || call(&mut client.clone(), 1.0).await.is_ok()).await;
    }
    fronting.finish().await;
}

#[tokio::test]
async fn where_all_are_gone_calls_fail_at_once_with_a_hint_and_succeed_when_one_is_back() {
    let part = Part::echo();
    let backend = Standing::of(&part).await;
    let fronting = Fronting::of(&[backend.address()]).await;
    let address = backend.address();
    drop(backend);
    eventually("it is lost", async || fronting.endpoint(address).await["connection"] == "lost").await;
    let raw = fronting.raw().await;
    let began = Instant::now();
    for _ in 0..20 {
        let answer = raw.call(INFER, &[("grpc-timeout", "20S")], framed(&echo(&[1.0]))).await;
        assert_eq!(answer.code(), Code::Unavailable);
        assert_eq!(answer.message(), "none of 1 backends is ready: 0 failed too much, 1 have no connection");
        assert_eq!(answer.get("grpc-retry-pushback-ms"), Some("100"));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let _backend = Standing::at(address, &part).await;
    eventually("it answers again", async || call(&mut fronting.oip().await, 1.0).await.is_ok()).await;
    fronting.finish().await;
}

#[tokio::test]
async fn a_call_that_a_tier_in_front_has_tried_already_is_not_tried_again() {
    let fails = |_: &_| Deed::Fail(Code::ResourceExhausted, "no room");
    let (one, other) = (Part::of(true, fails), Part::of(true, fails));
    let (_one, _other, fronting) = pair(&one, &other).await;
    let raw = fronting.raw().await;
    let tried = || one.taken().len() + other.taken().len();
    let answer = raw.call(INFER, &[("grpc-previous-rpc-attempts", "1")], framed(&echo(&[1.0]))).await;
    assert_eq!((answer.code(), tried()), (Code::ResourceExhausted, 1));
    let answer = raw.call(INFER, &[], framed(&echo(&[1.0]))).await;
    assert_eq!((answer.code(), tried()), (Code::ResourceExhausted, 3));
    let previous = one.taken().into_iter().chain(other.taken());
    let mut previous: Vec<String> = previous
        .filter_map(|taken| Some(taken.headers.get("grpc-previous-rpc-attempts")?.to_str().unwrap().to_owned()))
        .collect();
    previous.sort();
    assert_eq!(previous, ["1", "1"]);
    assert_eq!(answer.get("grpc-retry-pushback-ms"), Some("-1"), "it was tried twice already");
    fronting.finish().await;
}

#[tokio::test]
async fn a_backend_that_flaps_costs_callers_of_a_pure_model_nothing() {
    let (flaps, well) = (Part::echo(), Part::echo());
    let stands = Standing::of(&well).await;
    let first = Standing::of(&flaps).await;
    let address = first.address();
    let fronting = Fronting::of(&[stands.address(), address]).await;
    let callers = Callers::of(&fronting, 4).await;
    let mut standing = Some(first);
    for _ in 0..6 {
        more_answers(&fronting, 40).await;
        drop(standing.take());
        more_answers(&fronting, 40).await;
        // The port is free once its task has ended.
        eventually("it is back", async || {
            let is_free = std::net::TcpListener::bind(address).is_ok();
            if is_free {
                standing = Some(Standing::at(address, &flaps).await);
            }
            is_free
        })
        .await;
    }
    let ends = callers.rest().await;
    assert_eq!(ends.keys().collect::<Vec<_>>(), ["answered"], "{ends:?}");
    fronting.finish().await;
}

#[tokio::test]
async fn another_backend_at_the_same_address_is_asked_anew() {
    let mut old = worker([Model::echo()]).await;
    let fronting = Fronting::of(&[old.grpc()]).await;
    let address = old.grpc();
    old.kill();
    freed(address).await;
    let new = Serving::with([Model::identity("other", DType::Fp32, &[crate::harness::FREE])], |config| {
        config.listen = address;
    })
    .await;
    eventually("it is known", async || {
        let answer = within(fronting.oip().await.model_infer(crate::harness::echo_of("other", &[1.0]))).await;
        answer.is_ok()
    })
    .await;
    let status = call(&mut fronting.oip().await, 1.0).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no backend has model \"echo\""));
    fronting.finish().await;
    old.finish().await;
    new.finish().await;
}
