//! ModelStreamInfer: each message is a call of its own.

use infergate::error::{Error, Kind};
use infergate::tensor::DType;
use infergate::wire::proto::inference::{ModelInferRequest, ModelInferResponse, ModelStreamInferResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::harness::{
    FREE, Gate, Model, STREAM_INFER, Serving, echo, echo_of, echoed, eventually, framed, unframed, within,
};

/// A stream as its caller holds it.
struct Stream {
    calls: mpsc::Sender<ModelInferRequest>,
    answers: Streaming<ModelStreamInferResponse>,
}

impl Stream {
    async fn open(serving: &Serving, headers: &[(&'static str, &'static str)]) -> Stream {
        let (calls, outgoing) = mpsc::channel(128);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let answers = within(serving.oip().await.model_stream_infer(request)).await.unwrap().into_inner();
        Stream { calls, answers }
    }

    fn send(&self, id: &str, call: ModelInferRequest) {
        self.calls.try_send(ModelInferRequest { id: id.to_owned(), ..call }).unwrap();
    }

    /// The next message; `None` once the stream has ended well.
    async fn message(&mut self) -> Result<Option<ModelStreamInferResponse>, Status> {
        within(self.answers.message()).await
    }

    /// The next answer, of a call that went well.
    async fn answer(&mut self) -> ModelInferResponse {
        let message = self.message().await.unwrap().expect("the stream ended");
        assert_eq!(message.error_message, "");
        message.infer_response.unwrap()
    }

    /// The next failure: the call's id and what is said.
    async fn failure(&mut self) -> (String, String) {
        let message = self.message().await.unwrap().expect("the stream ended");
        assert_ne!(message.error_message, "");
        (message.infer_response.unwrap().id, message.error_message)
    }

    /// Says that there are no more calls, and reads to the end.
    async fn end(mut self) {
        drop(self.calls);
        assert!(within(self.answers.message()).await.unwrap().is_none());
    }
}

/// `echo`, whose engines hold the calls that begin with 13 at the gate.
fn slow_at_thirteen(gate: &Gate) -> Model {
    let passage = gate.passage();
    Model::echo().acting(move |run| {
        if run.first() == "13" {
            passage.pass("13");
        }
        run.identity()
    })
}

#[tokio::test]
async fn each_message_is_answered_in_the_order_in_which_it_came() {
    let serving = Serving::of([Model::echo()]).await;
    let mut stream = Stream::open(&serving, &[]).await;
    for number in 0..100 {
        stream.send(&number.to_string(), echo(&[number as f32]));
    }
    for number in 0..100 {
        let answer = stream.answer().await;
        assert_eq!((answer.id.clone(), echoed(&answer)), (number.to_string(), vec![number as f32]));
    }
    stream.end().await;
    assert_eq!(serving.finish().await.answered, 100);
}

#[tokio::test]
async fn quick_calls_run_behind_a_slow_one_and_their_answers_wait_for_its() {
    let mut gate = Gate::closed();
    let model = slow_at_thirteen(&gate);
    let log = model.log();
    let serving = Serving::of([model]).await;
    let mut stream = Stream::open(&serving, &[]).await;
    stream.send("slow", echo(&[13.0]));
    stream.send("quick", echo(&[1.0]));
    stream.send("quicker", echo(&[2.0]));
    gate.next().await;
    eventually("the quick calls are done", async || serving.totals().answered == 2).await;
    assert_eq!(log.runs(), 3);
    gate.open();
    for id in ["slow", "quick", "quicker"] {
        assert_eq!(stream.answer().await.id, id);
    }
    stream.end().await;
    serving.finish().await;
}

#[tokio::test]
async fn no_more_calls_of_a_stream_are_in_flight_than_allowed() {
    let mut gate = Gate::closed();
    let (model, other) = (Model::echo().behind(&gate), Model::identity("other", DType::Fp32, &[FREE]).behind(&gate));
    let serving = Serving::with([model, other], |config| config.limits.stream_in_flight = 2).await;
    let mut stream = Stream::open(&serving, &[]).await;
    for number in 1..=4 {
        stream.send(&number.to_string(), echo(&[number as f32]));
    }
    assert_eq!(gate.next_two().await, ["1", "2"]);

    // There is room for others: what comes later than the third and does not belong to the stream begins before it.
    let mut client = serving.oip().await;
    let other = tokio::spawn(async move { within(client.model_infer(echo_of("other", &[9.0]))).await });
    assert_eq!(gate.next().await, "9");
    assert_eq!(serving.totals().accepted, 3);

    gate.open();
    assert_eq!(gate.next_two().await, ["3", "4"]);
    for id in 1..=4 {
        assert_eq!(stream.answer().await.id, id.to_string());
    }
    within(other).await.unwrap().unwrap();
    stream.end().await;
    serving.finish().await;
}

#[tokio::test]
async fn failures_are_answers_with_the_calls_id_and_the_stream_goes_on() {
    let moody =
        Model::identity("moody", DType::Fp32, &[FREE]).acting(|_| Err(Error::new(Kind::Engine, "no answer today")));
    let serving = Serving::of([Model::echo(), moody]).await;
    let mut stream = Stream::open(&serving, &[]).await;
    stream.send("unknown", echo_of("nobody", &[1.0]));
    stream.send("engine", echo_of("moody", &[1.0]));
    stream.send("wrong", ModelInferRequest { raw_input_contents: vec![], ..echo(&[1.0]) });
    stream.send("good", echo(&[1.0]));
    assert_eq!(stream.failure().await, ("unknown".to_owned(), "model \"nobody\" is not known".to_owned()));
    assert_eq!(stream.failure().await, ("engine".to_owned(), "no answer today".to_owned()));
    let (id, message) = stream.failure().await;
    assert_eq!(id, "wrong");
    assert!(message.starts_with("input \"x\": "), "{message}");
    assert_eq!(stream.answer().await.id, "good");
    stream.end().await;
    let totals = serving.finish().await;
    assert_eq!((totals.answered, totals.failed, totals.refused), (1, 1, 2));
}

#[tokio::test]
async fn a_message_that_is_none_fails_alone() {
    let serving = Serving::of([Model::echo()]).await;
    let junk = [&[0, 0, 0, 0, 3][..], &[0xff; 3]].concat();
    let body = [junk, framed(&echo(&[1.0])).to_vec()].concat();
    let answer = serving.raw().await.call(STREAM_INFER, &[], body).await;
    assert_eq!(answer.code(), Code::Ok);
    let messages: Vec<ModelStreamInferResponse> = unframed(answer.body);
    assert!(messages[0].error_message.starts_with("malformed message"), "{messages:?}");
    assert_eq!(echoed(messages[1].infer_response.as_ref().unwrap()), [1.0]);
    serving.finish().await;
}

#[tokio::test]
async fn with_tritons_header_a_failure_ends_the_stream_with_its_status() {
    let serving = Serving::of([Model::echo()]).await;
    let mut stream = Stream::open(&serving, &[("triton_grpc_error", "true")]).await;
    stream.send("good", echo(&[1.0]));
    stream.send("bad", echo_of("nobody", &[1.0]));
    stream.send("never", echo(&[2.0]));
    assert_eq!(stream.answer().await.id, "good");
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "model \"nobody\" is not known"));
    drop(stream);
    serving.finish().await;
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_stream_after_the_answers_before_it() {
    let serving = Serving::with([Model::echo()], |config| config.limits.message_size = "1KiB".parse().unwrap()).await;
    let mut stream = Stream::open(&serving, &[]).await;
    stream.send("small", echo(&[1.0]));
    stream.send("large", echo(&[0.0; 1000]));
    assert_eq!(stream.answer().await.id, "small");
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().ends_with("is over the limit of 1024 bytes"), "{}", status.message());
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[tokio::test]
async fn a_stream_without_messages_ends_well() {
    let serving = Serving::of([Model::echo()]).await;
    Stream::open(&serving, &[]).await.end().await;
    assert_eq!(serving.finish().await.accepted, 0);
}

#[tokio::test]
async fn a_streams_own_deadline_ends_it_and_the_calls_in_it() {
    let mut gate = Gate::closed();
    let serving = Serving::of([Model::echo().behind(&gate)]).await;
    let raw = serving.raw().await;
    let mut pending = raw.begin(STREAM_INFER, &[("grpc-timeout", "500m")]).await.unwrap();
    pending.put(framed(&echo(&[1.0])), false);
    gate.next().await;
    let answer = pending.answer().await.unwrap();
    assert_eq!(answer.code(), Code::DeadlineExceeded, "{answer:?}");
    let messages: Vec<ModelStreamInferResponse> = unframed(answer.body);
    assert_eq!(messages[0].error_message, "deadline exceeded while waiting for an answer");
    gate.open();
    assert_eq!(serving.finish().await.expired, 1);
}

#[tokio::test]
async fn a_caller_who_leaves_takes_all_calls_of_the_stream_along() {
    let mut gate = Gate::closed();
    let serving = Serving::of([Model::echo().settings("instances = 2").behind_while_waited_for(&gate)]).await;
    let stream = Stream::open(&serving, &[]).await;
    for number in 1..=3 {
        stream.send("", echo(&[number as f32]));
    }
    gate.next_two().await;
    eventually("the third call waits", async || serving.totals().accepted == 3).await;
    drop(stream);
    eventually("all were abandoned", async || serving.totals().abandoned == 3).await;
    // Both instances are free again, though nobody opened the gate for those who came first.
    let mut client = serving.oip().await;
    let next = tokio::spawn(async move { within(client.model_infer(echo(&[9.0]))).await });
    assert_eq!(gate.next().await, "9");
    gate.open();
    within(next).await.unwrap().unwrap();
    serving.finish().await;
}

#[tokio::test]
async fn a_stream_that_nobody_feeds_is_ended_when_it_was_idle_too_long() {
    let serving = Serving::with([Model::echo()], |config| config.http2.idle_timeout = "500ms".parse().unwrap()).await;
    let mut stream = Stream::open(&serving, &[]).await;
    stream.send("only", echo(&[1.0]));
    assert_eq!(stream.answer().await.id, "only");
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    serving.finish().await;
}
