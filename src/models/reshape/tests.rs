//! What becomes of shapes on the way in and out, and what callers are told.

use std::future::{Ready, ready};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::*;
use crate::infer::{Close, Composition, Execution, LoadReport, Member, Target, Timeline, Version, VersionChoice, call};
use crate::tensor::DType;

fn spec(name: &'static str, dims: &[i64]) -> TensorSpec {
    let dim = |size: &i64| if *size < 0 { Dim::Free(Some("batch".into())) } else { Dim::Fixed(*size) };
    TensorSpec { name: name.into(), dtype: DType::Int8, dims: dims.iter().map(dim).collect(), optional: false }
}

/// `x` and `y` of the first, which callers see as the second.
fn reshapes(own: &[i64], shown: &[i64]) -> (Signature, Reshapes) {
    assert_eq!(disagreement(shown, own), None);
    let signature = Signature { inputs: vec![spec("a", &[-1]), spec("x", own)], outputs: vec![spec("y", own)] };
    let mut reshapes = Reshapes::default();
    reshapes.input(&signature.inputs[1], shown, own);
    reshapes.output(&signature.outputs[0], shown, own);
    (signature, reshapes)
}

fn tensor(name: &'static str, dims: &[i64]) -> Tensor {
    let shape = Shape::new(dims).unwrap();
    let data: Vec<u8> = (0..shape.elements() as u8).collect();
    Tensor::new(name.into(), DType::Int8, shape, data.into()).unwrap()
}

/// Answers its last input as `y`, in a shape of its own where it has one, and keeps what it saw.
#[derive(Debug, Clone, Default)]
struct Echo {
    seen: Arc<Mutex<Vec<InferRequest>>>,
    shape: Option<Shape>,
}

impl Service<InferRequest> for Echo {
    type Response = InferResponse;
    type Error = Error;
    type Future = Ready<Result<InferResponse>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: InferRequest) -> Self::Future {
        let input = request.inputs.last().unwrap();
        let shape = self.shape.clone().unwrap_or_else(|| input.shape().clone());
        let output = Tensor::new("y".into(), input.dtype(), shape, input.data().clone()).unwrap();
        self.seen.lock().unwrap().push(request);
        ready(Ok(answer(output)))
    }
}

fn answer(output: Tensor) -> InferResponse {
    let now = Instant::now();
    let composition = Composition { rows: 1, elements: 1, padding: 0, closed: Close::SlotFree };
    let load = LoadReport { execution: Duration::from_millis(1), ..LoadReport::default() };
    let device = "cpu".into();
    InferResponse {
        model: "digits".parse().unwrap(),
        version: Version::new(1),
        outputs: [output].into_iter().collect(),
        parameters: Default::default(),
        rows: 1,
        received: Some("as it came".into()),
        execution: Execution {
            batch: 1,
            composition,
            members: 1,
            device,
            taken: now,
            merged: now,
            executed: now,
            load,
        },
    }
}

fn request(inputs: impl IntoIterator<Item = Tensor>) -> InferRequest {
    let model = Target { name: "digits".parse().unwrap(), version: VersionChoice::Latest };
    let timeline = Timeline::start(Instant::now());
    let member = Member {
        id: "".into(),
        deadline: Instant::now() + Duration::from_secs(1),
        trace: None,
        previous_attempts: 0,
        timeline,
    };
    InferRequest { received: Some("message".into()), ..InferRequest::new(model, inputs, member) }
}

/// Shapes of `x` and of `y` as they pass: as the caller has them, and as the model.
async fn passed(own: &[i64], shown: &[i64], given: &[i64]) -> (Vec<i64>, Vec<i64>) {
    let echo = Echo::default();
    let service = Reshaped::new(reshapes(own, shown).1, echo.clone());
    let response = call(&service, request([tensor("a", &[2]), tensor("x", given)])).await.unwrap();
    let seen = echo.seen.lock().unwrap().remove(0);
    assert_eq!(seen.inputs[0], tensor("a", &[2]), "of another input nothing is said");
    assert_eq!(seen.received, None, "the message has another shape");
    assert_eq!(response.received, None, "the answer's message has the model's own shape");
    assert_eq!(response.outputs[0].data(), tensor("y", given).data());
    (seen.inputs[1].shape().to_vec(), response.outputs[0].shape().to_vec())
}

#[tokio::test]
async fn the_model_sees_its_own_shape_and_the_caller_the_shown_one() {
    for (own, shown, given, seen) in [
        (&[1, 2, 3][..], &[2, 3][..], &[2, 3][..], &[1, 2, 3][..]),
        (&[1, 6, 1, 1], &[6], &[6], &[1, 6, 1, 1]),
        (&[-1], &[-1, 1], &[5, 1], &[5]),
        (&[], &[1], &[1], &[]),
        (&[-1, 8, -1, 1, 2], &[-1, 2, 4, -1, 2], &[3, 2, 4, 0, 2], &[3, 8, 0, 1, 2]),
        (&[-1, 4], &[-1, 2, 2], &[2, 2, 2], &[2, 4]),
    ] {
        assert_eq!(passed(own, shown, given).await, (seen.to_vec(), given.to_vec()), "{own:?} shown as {shown:?}");
    }
}

#[tokio::test]
async fn an_input_that_does_not_fit_is_refused_with_both_shapes() {
    let service = Reshaped::new(reshapes(&[-1, 4], &[-1, 2, 2]).1, Echo::default());
    for (given, told) in [
        (&[1, 4][..], "input \"x\": expected rank 3 [batch,2,2], got rank 2 [1,4]"),
        (&[1, 4, 1], "input \"x\": expected shape [batch,2,2], got [1,4,1]"),
    ] {
        let error = call(&service, request([tensor("x", given)])).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Invalid, told));
    }
}

#[tokio::test]
async fn an_output_in_another_shape_than_declared_is_no_doing_of_the_caller() {
    let echo = Echo { shape: Some(Shape::new(&[4, 1]).unwrap()), ..Echo::default() };
    let service = Reshaped::new(reshapes(&[-1, 4], &[-1, 2, 2]).1, echo);
    let error = call(&service, request([tensor("x", &[1, 2, 2])])).await.unwrap_err();
    let told = "output \"y\" to be reshaped: expected shape [batch,4], got [4,1]";
    assert_eq!((error.kind(), error.message()), (Kind::Engine, told));
}

#[tokio::test]
async fn without_a_reshape_calls_pass_as_they_are() {
    let echo = Echo::default();
    let service = Reshaped::new(Reshapes::default(), echo.clone());
    call(&service, request([tensor("x", &[3])])).await.unwrap();
    assert!(service.reshapes.is_none());
    assert_eq!(echo.seen.lock().unwrap()[0].received.as_deref(), Some(&b"message"[..]));
}

#[test]
fn shapes_of_other_elements_disagree() {
    for (shown, own) in [
        (&[3, 4][..], &[3, 5][..]),
        (&[-1], &[4]),
        (&[4], &[-1]),
        (&[-1, 2], &[2, -1]),
        (&[-1, -1, 2], &[-1, 2]),
        (&[2], &[]),
        (&[0], &[]),
    ] {
        let told = "they differ in -1, or in the elements before, between or behind them";
        assert_eq!(disagreement(shown, own).as_deref(), Some(told), "{shown:?} {own:?}");
    }
    assert_eq!(disagreement(&[1; 17], &[1]).unwrap(), "rank 17 is over the limit of 16");
    assert_eq!(disagreement(&[1], &[i64::MAX, -1, 2]).unwrap(), format!("shape [{},1,2] overflows", i64::MAX));
}

#[test]
fn callers_are_shown_their_own_shapes_with_the_names_of_the_model() {
    let (signature, reshapes) = reshapes(&[-1, 4], &[-1, 2, 2]);
    let shown = reshapes.shown(&signature);
    assert_eq!((&shown.inputs[0], shown.inputs[1].to_string()), (&signature.inputs[0], "[batch,2,2]".into()));
    assert_eq!(shown.outputs, [TensorSpec { name: "y".into(), ..shown.inputs[1].clone() }]);
    assert_eq!(Reshapes::default().shown(&signature), signature);
}

#[test]
fn a_batch_axis_is_shown_where_it_is_at_the_same_place() {
    for (own, shown, keeps) in [
        (&[-1, 4][..], &[-1, 2, 2][..], true),
        (&[-1], &[-1, 1], true),
        (&[-1, 4], &[1, -1, 4], false),
        (&[-1, 4], &[-1, 4], true),
    ] {
        let (signature, reshapes) = reshapes(own, shown);
        let merging = || Merging { axis: BatchAxis::find(&signature, None, true).ok(), max_batch: 8 };
        let expected = if keeps { merging() } else { Merging { axis: None, max_batch: 1 } };
        assert!(merging().axis.is_some());
        assert_eq!(reshapes.shown_merging(merging(), &signature), expected, "{own:?} shown as {shown:?}");
    }
    // The model leaves the dimension free; callers have one row each.
    let signature = Signature { inputs: vec![spec("x", &[-1, 4])], outputs: vec![spec("y", &[-1])] };
    let mut reshapes = Reshapes::default();
    reshapes.input(&signature.inputs[0], &[4], &[1, 4]);
    let merging = Merging { axis: BatchAxis::find(&signature, None, true).ok(), max_batch: 8 };
    assert_eq!(reshapes.shown_merging(merging, &signature).axis, None);
}
