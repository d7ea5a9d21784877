//! The queue in front of a scripted place, on a clock that is paused: who goes when, what becomes of those that fail, are
//! late, too large or left, and what is still answered under twice the load.

use std::collections::BTreeMap;
use std::future::Future;

use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout_at};

use super::*;
use crate::batch::fixture::{MS, Script, answer_of, plain, renamed, request, rules, signature, tensor};
use crate::batch::rules::{Bounds, Level};
use crate::infer::{Close, Parameter};
use crate::tensor::{DType, Tensor};

/// A batcher in front of a script.
struct Tried {
    script: Script,
    batcher: Batcher<Script>,
    gauges: Arc<QueueGauges>,
    leave: watch::Sender<bool>,
    calls: u64,
}

type Answer = Result<InferResponse>;

impl Tried {
    fn of(script: Script, rules: Rules) -> Tried {
        Tried::with(plain(), script, rules)
    }

    fn with(signature: Arc<Signature>, script: Script, rules: Rules) -> Tried {
        let (leave, leaving) = watch::channel(false);
        let gauges = Arc::new(QueueGauges::default());
        let batcher = Batcher::new(script.clone(), signature, rules, gauges.clone(), leaving).unwrap();
        Tried { script, batcher, gauges, leave, calls: 0 }
    }

    /// A call of so many rows of this length, with a deadline so long from now.
    fn request(&mut self, rows: usize, length: i64, deadline: Duration) -> InferRequest {
        self.calls += 1;
        request([tensor("x", DType::Uint8, &[rows as i64, length], self.calls)], now() + deadline)
    }

    /// Sends a call of one row.
    fn send(&mut self) -> Answering<Script> {
        let request = self.request(1, 4, MS(60_000));
        self.batcher.call(request)
    }

    fn send_all(&mut self, count: usize) -> Vec<Answering<Script>> {
        (0..count).map(|_| self.send()).collect()
    }

    /// That nothing is left behind.
    fn is_at_rest(&self, slots: usize) {
        let (waiting, in_flight, wait) = {
            let state = self.batcher.shared.state();
            (state.queue.len(), state.in_flight, state.wait())
        };
        assert_eq!((waiting, in_flight, self.script.free()), (0, 0, slots));
        assert_eq!((self.gauges.waiting_now(), wait), (0, Duration::ZERO));
    }

    fn closed(&self) -> Vec<(usize, Close)> {
        self.script.runs().iter().map(|run| (run.rows, run.closed)).collect()
    }
}

fn steady(slots: usize) -> Script {
    Script::new(slots, |_| MS(10))
}

fn merging() -> Rules {
    rules(&plain(), 8)
}

async fn all<F: Future<Output = Answer>>(calls: Vec<F>) -> Vec<Answer> {
    futures_util::future::join_all(calls).await
}

fn kinds(answers: &[Answer]) -> Vec<Option<Kind>> {
    answers.iter().map(|answer| answer.as_ref().err().map(Error::kind)).collect()
}

/// Lets time pass, and all happen that happens in it.
async fn pass(time: Duration) {
    sleep_until((now() + time).into()).await;
}

/// The answer that the script gives to these inputs.
fn answer_to(request: &InferRequest) -> Vec<Tensor> {
    request.inputs.iter().map(|input| renamed(input, &answer_of(input.name()))).collect()
}

#[tokio::test(start_paused = true)]
async fn while_a_slot_is_free_nothing_waits() {
    let mut tried = Tried::of(steady(3), merging());
    let calls = tried.send_all(3);
    assert_eq!(tried.closed(), [(1, Close::SlotFree); 3]);
    assert!(all(calls).await.iter().all(Result::is_ok));
    tried.is_at_rest(3);
}

#[tokio::test(start_paused = true)]
async fn calls_that_come_while_the_place_is_busy_are_run_together_and_each_gets_its_own_back() {
    let mut tried = Tried::of(steady(1), merging());
    let requests: Vec<InferRequest> = (1..8).map(|rows| tried.request(rows % 3 + 1, 4, MS(1000))).collect();
    let expected: Vec<Vec<Tensor>> = requests.iter().map(answer_to).collect();
    let calls = requests.into_iter().map(|request| tried.batcher.call(request)).collect();
    for (answer, expected) in all(calls).await.into_iter().zip(expected) {
        assert_eq!(answer.unwrap().outputs.to_vec(), expected);
    }
    // Of 2, 3, 1, 2, 3, 1, 2 rows the first found a slot, and a batch has 8 at most.
    assert_eq!(tried.closed(), [(2, Close::SlotFree), (6, Close::Full), (6, Close::SlotFree)]);
    tried.is_at_rest(1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_tells_how_many_rows_wait() {
    let mut tried = Tried::of(steady(1), merging());
    let requests: Vec<InferRequest> = [1, 5, 5].map(|rows| tried.request(rows, 4, MS(1000))).into();
    let calls = requests.into_iter().map(|request| tried.batcher.call(request)).collect();
    let told = all(calls).await.into_iter().map(|answer| answer.unwrap().execution.load.waiting);
    assert_eq!(told.collect::<Vec<u32>>(), [10, 5, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_another_shape_closes_nobody_elses_batch() {
    let mut tried = Tried::of(steady(1), merging());
    let mut calls = tried.send_all(4);
    let other = tried.request(1, 5, MS(50_000));
    calls.push(tried.batcher.call(other));
    calls.extend(tried.send_all(4));
    all(calls).await;
    let mut rows = tried.script.rows();
    rows[1..].sort_unstable();
    assert_eq!(rows, [1, 1, 7]);
}

#[tokio::test(start_paused = true)]
async fn with_a_delay_calls_are_held_for_company_and_no_longer() {
    let mut tried = Tried::of(steady(2), Rules { max_delay: MS(5), ..merging() });
    let start = now();
    let mut calls = tried.send_all(2);
    pass(MS(3)).await;
    calls.extend(tried.send_all(1));
    assert!(tried.script.runs().is_empty());
    all(calls).await;
    assert_eq!(tried.closed(), [(3, Close::Delay)]);
    assert_eq!(tried.script.runs()[0].taken - start, MS(5));
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_is_not_held_and_another_shape_does_not_end_a_delay() {
    let mut tried = Tried::of(steady(3), Rules { max_delay: MS(5), ..merging() });
    let start = now();
    let waiting = tried.send();
    pass(MS(2)).await;
    let full = (0..8).map(|_| tried.request(1, 9, MS(1000))).collect::<Vec<_>>();
    let full: Vec<_> = full.into_iter().map(|request| tried.batcher.call(request)).collect();
    assert_eq!(tried.closed(), [(8, Close::Full)]);
    assert!(all(full).await.iter().all(Result::is_ok));
    assert!(waiting.await.is_ok());
    assert_eq!(tried.closed()[1], (1, Close::Delay));
    assert_eq!(tried.script.runs()[1].taken - start, MS(5));
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_held_go_once_the_process_is_leaving() {
    let mut tried = Tried::of(steady(1), Rules { max_delay: MS(5000), ..merging() });
    let (start, call) = (now(), tokio::spawn(tried.send()));
    pass(MS(3)).await;
    tried.leave.send(true).unwrap();
    assert!(call.await.unwrap().is_ok());
    assert!(tried.send().await.is_ok());
    assert_eq!(tried.closed(), [(1, Close::Drain); 2]);
    assert_eq!(tried.script.runs()[0].taken - start, MS(3));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_held_goes_in_time_for_its_deadline() {
    let mut tried = Tried::of(steady(1), Rules { max_delay: MS(5000), ..merging() });
    for _ in 0..4 {
        // Runs are learnt from.
        let request = tried.request(8, 4, MS(1000));
        tried.batcher.call(request).await.unwrap();
    }
    let mut answered = Vec::new();
    for _ in 0..3 {
        let request = tried.request(1, 4, MS(30));
        answered.push(timeout_at((now() + MS(30)).into(), tried.batcher.call(request)).await.is_ok());
        pass(MS(20)).await;
    }
    assert_eq!(answered, [true; 3]);
    assert_eq!(tried.closed()[4..], [(1, Close::Deadline); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_wants_to_wait_less_than_the_delay_is_run_and_not_refused() {
    let mut tried = Tried::of(steady(1), Rules { max_delay: MS(5000), ..merging() });
    let mut request = tried.request(1, 4, MS(10_000));
    request.parameters.set("timeout".into(), Parameter::Uint(20_000));
    assert!(tried.batcher.call(request).await.is_ok());
}

/// Calls one every `every`, for `time`; the delay that the queue has in the end.
async fn tuned(slo: Duration, run: fn(usize) -> Duration, every: Duration, time: Duration) -> Duration {
    let mut tried = Tried::of(Script::new(1, run), Rules { slo_p99: Some(slo), ..merging() });
    let (mut calls, until, mut random) = (Vec::new(), now() + time, fastrand::Rng::with_seed(5));
    while now() < until {
        calls.push(tokio::spawn(tried.send()));
        pass(every.mul_f64(2.0 * random.f64())).await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    tried.gauges.delay_now()
}

#[tokio::test(start_paused = true)]
async fn a_promised_time_lets_calls_wait_where_that_makes_runs_cheaper() {
    let fixed = tuned(MS(100), |_| MS(3), MS(1), MS(5000)).await;
    assert!(fixed >= MS(10), "{fixed:?}");
    let by_row = tuned(MS(100), |rows| MS(2) * rows as u32, MS(5), MS(5000)).await;
    assert!(by_row <= MS(5), "{by_row:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_to_wait_is_over_is_told_so_at_that_time() {
    let of_level = Level { timeout: Some(MS(4)), ..Level::default() };
    let mut tried = Tried::of(steady(1), Rules { levels: vec![of_level], ..merging() });
    let (start, running, mut own) = (now(), tried.send(), tried.request(1, 4, MS(1000)));
    let waiting = tokio::spawn(tried.send());
    own.parameters.set("timeout".into(), Parameter::Int(2000));
    let own = tokio::spawn(tried.batcher.call(own));
    let error = own.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), now() - start), (Kind::Late, MS(2)));
    assert_eq!(waiting.await.unwrap().unwrap_err().message(), "deadline exceeded while waiting for an instance");
    assert_eq!(now() - start, MS(4));
    assert!(running.await.is_ok());
    tried.is_at_rest(1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ran_tells_nothing_of_the_way_back() {
    let mut tried = Tried::of(steady(1), merging());
    let (running, request) = (tried.send(), tried.request(1, 4, MS(5)));
    assert_eq!(kinds(&all(vec![running, tried.batcher.call(request)]).await), [None, Some(Kind::Late)]);
    assert_eq!(tried.batcher.shared.margin.get(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_level_that_delays_lets_its_calls_wait_on() {
    let of_level = Level { timeout: Some(MS(4)), rejects: false, ..Level::default() };
    let mut tried = Tried::of(steady(1), Rules { levels: vec![of_level], ..merging() });
    let calls = tried.send_all(3);
    assert!(all(calls).await.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_so_with_a_hint() {
    let bounds = Bounds { calls: 2, bytes: 1000 };
    let mut tried = Tried::of(steady(1), Rules { bounds, ..merging() });
    let calls = tried.send_all(4);
    let answers = all(calls).await;
    assert_eq!(kinds(&answers), [None, None, None, Some(Kind::Overloaded)]);
    let error = answers[3].as_ref().unwrap_err();
    assert_eq!((error.message(), error.retry_after()), ("the queue is full, 2 calls wait", Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_be_late_behind_all_that_waits_is_refused_with_a_hint() {
    let mut tried = Tried::of(steady(1), merging());
    for rows in [1, 8, 1, 8] {
        let request = tried.request(rows, 4, MS(1000));
        tried.batcher.call(request).await.unwrap();
    }
    let calls = tried.send_all(41);
    let request = tried.request(1, 4, MS(50));
    let wait = tried.batcher.shared.state().wait();
    assert!(wait >= MS(49), "{wait:?}");
    // It is due before all the others, so that it goes next.
    assert!(tried.batcher.call(request).await.is_ok());
    assert!(all(calls).await.iter().all(Result::is_ok));
    let calls: Vec<_> = (0..41).map(|_| tried.request(1, 4, MS(49))).collect();
    let calls: Vec<_> = calls.into_iter().map(|request| tried.batcher.call(request)).collect();
    let answers = all(calls).await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(answered, 1 + 3 * 8, "what is through in 49 ms");
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    let refused: Vec<&Error> = refused.filter(|error| error.kind() == Kind::Overloaded).collect();
    assert!(refused.len() >= 8, "{}", refused.len());
    for error in refused {
        assert_eq!(error.room(), Some(Room::QueueTime));
        assert!(error.retry_after() > Some(MS(20)) && error.message().starts_with("the calls that wait take about"));
    }
}

/// Calls that are guilty have a first byte of 255.
fn is_guilty(request: &InferRequest) -> bool {
    request.inputs.iter().any(|input| input.data().to_bytes().chunks(4).any(|row| row[0] == 255))
}

fn with_first_byte(request: &InferRequest, byte: u8) -> InferRequest {
    let input = &request.inputs[0];
    let mut data = input.data().to_bytes().to_vec();
    data.chunks_mut(4).for_each(|row| row[0] = 1);
    data[0] = byte;
    let input = Tensor::new("x".into(), DType::Uint8, input.shape().clone(), data.into()).unwrap();
    crate::batch::fixture::request([input], request.deadline())
}

fn fragile(kind: Kind) -> Script {
    steady(1).failing(move |request| is_guilty(request).then(|| Error::new(kind, "it fell over")))
}

impl Tried {
    /// One call that finds a slot, then as many of one row as there are, of which some are guilty.
    fn send_guilty(&mut self, guilty: &[bool]) -> Vec<Answering<Script>> {
        let bytes = std::iter::once(1).chain(guilty.iter().map(|guilty| if *guilty { 255 } else { 1 }));
        let requests: Vec<InferRequest> =
            bytes.map(|byte| with_first_byte(&self.request(1, 4, MS(10_000)), byte)).collect();
        requests.into_iter().map(|request| self.batcher.call(request)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn of_calls_that_failed_together_only_the_guilty_fails() {
    for kind in [Kind::Engine, Kind::Invalid] {
        let mut tried = Tried::of(fragile(kind), merging());
        let calls = tried.send_guilty(&[false, true, false]);
        assert_eq!(kinds(&all(calls).await), [None, None, Some(kind), None]);
        assert_eq!(tried.script.rows(), [1, 3, 1, 1, 1]);
        tried.is_at_rest(1);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_failed_together_are_also_run_alone_where_only_some_sizes_are_run() {
    let mut tried = Tried::of(fragile(Kind::Engine), Rules { allowed_sizes: vec![2, 8], ..merging() });
    let calls = tried.send_guilty(&[false, true]);
    assert_eq!(kinds(&all(calls).await), [None, None, Some(Kind::Engine)]);
    tried.is_at_rest(1);
}

#[tokio::test(start_paused = true)]
async fn what_is_nobodys_fault_fails_all_and_is_not_run_again() {
    let mut tried = Tried::of(fragile(Kind::BackendLost), merging());
    let calls = tried.send_guilty(&[false, true]);
    assert_eq!(kinds(&all(calls).await), [None, Some(Kind::BackendLost), Some(Kind::BackendLost)]);
    assert_eq!(tried.script.rows(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_left_while_it_waits_for_the_second_time_is_not_run() {
    let mut tried = Tried::of(fragile(Kind::Engine), merging());
    let mut calls = tried.send_guilty(&[true, false, false]);
    pass(MS(25)).await;
    assert_eq!(tried.script.rows(), [1, 3, 1]);
    drop(calls.split_off(2));
    assert_eq!(tried.gauges.waiting_now(), 0);
    assert_eq!(kinds(&all(calls).await), [None, Some(Kind::Engine)]);
    assert_eq!(tried.script.rows(), [1, 3, 1]);
    tried.is_at_rest(1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_left_while_it_fails_with_others_is_not_run_again() {
    let mut tried = Tried::of(fragile(Kind::Engine), merging());
    let mut calls = tried.send_guilty(&[true, false]);
    pass(MS(15)).await;
    assert_eq!(tried.script.rows(), [1, 2]);
    drop(calls.pop());
    assert_eq!(kinds(&all(calls).await), [None, Some(Kind::Engine)]);
    assert_eq!(tried.script.rows(), [1, 2, 1]);
    tried.is_at_rest(1);
}

#[tokio::test(start_paused = true)]
async fn a_call_with_more_rows_than_a_batch_comes_back_whole() {
    let mut tried = Tried::of(steady(2), merging());
    let request = tried.request(21, 4, MS(1000));
    let (expected, timeline) = (answer_to(&request), request.members[0].timeline.clone());
    let answer = tried.batcher.call(request).await.unwrap();
    assert_eq!((answer.rows, answer.outputs.to_vec()), (21, expected));
    assert_eq!(tried.script.rows(), [8, 8, 5]);
    assert_eq!(timeline.spent(crate::infer::Stage::Execute), MS(20));
    assert!(timeline.unaccounted(now()).is_zero());
    tried.is_at_rest(2);
}

#[tokio::test(start_paused = true)]
async fn a_call_fails_with_any_of_its_parts_and_the_others_are_left() {
    let mut tried = Tried::of(fragile(Kind::Engine), merging());
    let request = with_first_byte(&tried.request(40, 4, MS(1000)), 255);
    let start = now();
    let error = tried.batcher.call(request).await.unwrap_err();
    assert_eq!((error.kind(), now() - start), (Kind::Engine, MS(10)));
    // The second part was begun by the slot that the first gave back, or is so no more.
    assert!(tried.script.runs().len() <= 2);
    pass(MS(25)).await;
    tried.is_at_rest(1);
}

#[tokio::test(start_paused = true)]
async fn a_call_in_parts_of_which_some_had_no_slot_in_time_is_late_at_that_time() {
    let mut tried = Tried::of(steady(1), merging());
    let mut request = tried.request(20, 4, MS(1000));
    request.parameters.set("timeout".into(), Parameter::Uint(5000));
    let start = now();
    let error = tried.batcher.call(request).await.unwrap_err();
    assert_eq!((error.kind(), now() - start), (Kind::Late, MS(5)));
    pass(MS(10)).await;
    assert_eq!(tried.script.rows(), [8]);
    tried.is_at_rest(1);
}

#[tokio::test(start_paused = true)]
async fn a_call_with_more_rows_than_a_batch_is_refused_where_it_should_be() {
    let mut tried = Tried::of(steady(1), Rules { splits_oversized: false, ..merging() });
    let request = tried.request(9, 4, MS(1000));
    let error = tried.batcher.call(request).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Invalid, "the call has 9 rows, at most 8 are taken"));
    let request = tried.request(8, 4, MS(1000));
    assert!(tried.batcher.call(request).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn more_rows_than_parts_may_wait_are_refused_before_they_take_memory() {
    let bounds = Bounds { calls: 10, bytes: 1000 };
    let mut tried = Tried::of(steady(1), Rules { bounds, ..merging() });
    for rows in [81, i64::MAX] {
        let shape = crate::tensor::Shape::new(&[rows, 0]).unwrap();
        let input = Tensor::new("x".into(), DType::Uint8, shape, Default::default()).unwrap();
        let error = tried.batcher.call(request([input], now() + MS(1000))).await.unwrap_err();
        assert!(error.message().ends_with("rows, at most 80 are taken"), "{error}");
    }
    let request = tried.request(80, 4, MS(1000));
    assert!(tried.batcher.call(request).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn shapes_that_are_long_and_empty_are_answered_alone_where_they_cannot_be_run_together() {
    let dims = ["batch", "-1", "-1"];
    let model = signature(&[("x", DType::Uint8, &dims)], &[("y", DType::Uint8, &dims)]);
    for (allowed_sizes, expected) in [(vec![], None), (vec![8], Some(Kind::Invalid))] {
        let mut tried = Tried::with(model.clone(), steady(1), Rules { allowed_sizes, ..rules(&model, 8) });
        let call = || {
            let shape = crate::tensor::Shape::new(&[1, 1 << 61, 0]).unwrap();
            let input = Tensor::new("x".into(), DType::Uint8, shape, Default::default()).unwrap();
            request([input], now() + MS(1000))
        };
        let calls = (0..9).map(|_| tried.batcher.call(call())).collect();
        assert_eq!(kinds(&all(calls).await), [expected; 9]);
        tried.is_at_rest(1);
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_fill_a_batch_up_are_seen_by_nobody() {
    let mut tried = Tried::of(steady(1), Rules { allowed_sizes: vec![4, 8], ..merging() });
    let requests = [1, 2, 3].map(|rows| tried.request(rows, 4, MS(1000)));
    let expected: Vec<Vec<Tensor>> = requests.iter().map(answer_to).collect();
    let calls = requests.into_iter().map(|request| tried.batcher.call(request)).collect();
    let answers = all(calls).await.into_iter().map(|answer| answer.unwrap().outputs.to_vec());
    assert_eq!(answers.collect::<Vec<_>>(), expected);
    assert_eq!(tried.script.runs().iter().map(|run| (run.rows, run.run_at)).collect::<Vec<_>>(), [(1, 4), (5, 8)]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_its_place_drops_fails_its_calls_and_holds_nothing() {
    let mut tried = Tried::of(steady(1).keeping(), merging());
    let calls = tried.send_all(3);
    let calls = tokio::spawn(all(calls));
    // One that found a slot, two together, and each of those again.
    for _ in 0..4 {
        drop(tried.script.kept());
        tried.script.give_back();
    }
    assert_eq!(kinds(&calls.await.unwrap()), [Some(Kind::Engine); 3]);
    tried.is_at_rest(1);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_stopped_when_the_last_of_its_callers_has_left() {
    let mut tried = Tried::of(steady(1).keeping(), merging());
    let first = tried.send();
    let mut calls = tried.send_all(2);
    let taken = now();
    tried.script.end(tried.script.kept(), taken);
    assert!(first.await.is_ok());
    let batch = tried.script.kept();
    let stopped = Arc::new(AtomicU64::new(0));
    let stop = {
        let stopped = stopped.clone();
        move || {
            stopped.fetch_add(1, Relaxed);
        }
    };
    batch.interest.clone().while_waited_for(stop, || {
        drop(calls.pop());
        assert_eq!(stopped.load(Relaxed), 0);
        drop(calls.pop());
        assert_eq!(stopped.load(Relaxed), 1);
    });
    tried.script.end(batch, taken);
    tried.is_at_rest(1);
}

/// Calls of all kinds come and are left at random; whatever is left, everything is free in the end.
async fn leave_at_random(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let slots = random.usize(1..4);
    let script = Script::new(slots, |rows| MS(1 + rows as u64))
        .failing(|request| is_guilty(request).then(|| Error::new(Kind::Engine, "it fell over")));
    let delay = [0, 0, 3][random.usize(..3)];
    let of_level = Level { timeout: [None, Some(MS(6))][random.usize(..2)], ..Level::default() };
    let mut tried = Tried::of(
        script,
        Rules {
            max_delay: MS(delay),
            levels: vec![of_level; 2],
            allowed_sizes: [vec![], vec![2, 8]][random.usize(..2)].clone(),
            bounds: Bounds { calls: 30, bytes: 1000 },
            ..merging()
        },
    );
    let mut ends: Vec<JoinHandle<(bool, Option<Answer>)>> = Vec::new();
    for _ in 0..60 {
        let rows = [1, 1, 2, 5, 20][random.usize(..5)];
        let deadline = MS(random.u64(5..40));
        let request = tried.request(rows, 4, deadline);
        let mut request = with_first_byte(&request, [1, 1, 1, 1, 255][random.usize(..5)]);
        request.parameters.set("priority".into(), Parameter::Uint(random.u64(1..3)));
        let call = tried.batcher.call(request);
        let patience = [MS(random.u64(..30)).min(deadline), MS(500)][random.usize(..2)];
        let until = now() + patience;
        ends.push(tokio::spawn(async move { (patience > deadline, timeout_at(until.into(), call).await.ok()) }));
        if random.bool() {
            pass(MS(random.u64(..4))).await;
        }
    }
    for end in ends {
        let (patient, end) = end.await.unwrap();
        assert!(end.is_some() || !patient, "who waits gets an answer");
    }
    pass(MS(1000)).await;
    tried.is_at_rest(slots);
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_at_any_time_leave_nothing_behind() {
    for seed in 0..60 {
        leave_at_random(seed).await;
    }
}

/// What became of calls that came whether or not others were answered.
#[derive(Debug, Default)]
struct Load {
    /// Answered in time.
    good: usize,
    /// Run, but not answered in time.
    wasted: usize,
    by_kind: BTreeMap<String, usize>,
}

type Cost = fn(usize) -> Duration;

/// A place, and how many shapes the calls to it have.
#[derive(Clone, Copy)]
struct Busy {
    slots: usize,
    cost: Cost,
    max_batch: usize,
    shapes: usize,
}

impl Busy {
    fn new(slots: usize, max_batch: usize, cost: Cost) -> Busy {
        Busy { slots, cost, max_batch, shapes: 1 }
    }
}

/// Rows by second where as many calls as can be run are always there.
async fn peak(Busy { slots, cost, max_batch, shapes }: Busy) -> f64 {
    let mut tried = Tried::of(Script::new(slots, cost), rules(&plain(), max_batch));
    let until = now() + MS(2000);
    let clients: Vec<JoinHandle<usize>> = (0..slots * max_batch * 2 * shapes)
        .map(|call| {
            let (batcher, request) = (tried.batcher.clone(), tried.request(1, 4 + (call % shapes) as i64, MS(60_000)));
            tokio::spawn(async move {
                let mut answered = 0;
                while now() < until {
                    batcher.clone().call(request.clone()).await.unwrap();
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    answered as f64 / 2.0
}

/// Poisson arrivals at `rate` calls by second for some seconds, each with 50 ms.
async fn offered(Busy { slots, cost, max_batch, shapes }: Busy, rate: f64, seconds: f64) -> Load {
    let mut random = fastrand::Rng::with_seed(7);
    let mut tried = Tried::of(Script::new(slots, cost), rules(&plain(), max_batch));
    let (start, mut at, mut calls) = (now(), 0.0, Vec::new());
    while at < seconds {
        at += -(1.0 - random.f64()).ln() / rate;
        sleep_until((start + Duration::from_secs_f64(at)).into()).await;
        let request = tried.request(1, 4 + random.usize(..shapes) as i64, MS(50));
        let (deadline, call) = (request.deadline(), tried.batcher.call(request));
        calls.push(tokio::spawn(async move { timeout_at(deadline.into(), call).await.ok() }));
    }
    let mut load = Load::default();
    for call in calls {
        let end = match call.await.unwrap() {
            Some(Ok(_)) => "good".to_owned(),
            Some(Err(error)) => format!("{:?}", error.kind()),
            None => "left".to_owned(),
        };
        *load.by_kind.entry(end).or_default() += 1;
    }
    load.good = load.by_kind["good"];
    pass(MS(1000)).await;
    tried.is_at_rest(slots);
    load.wasted = tried.script.rows().iter().sum::<usize>() - load.good;
    load
}

/// Half as much again as can be answered; the goodput as a part of the peak, the part that was run in vain, and all.
async fn overloaded(busy: Busy) -> (f64, f64, String) {
    let (peak, seconds) = (peak(busy).await, 4.0);
    let load = offered(busy, 1.5 * peak, seconds).await;
    let (goodput, wasted) = (load.good as f64 / seconds / peak, load.wasted as f64 / (load.good + load.wasted) as f64);
    (goodput, wasted, format!("{goodput:.4} of {peak} calls/s in time, {wasted:.5} run in vain: {load:?}"))
}

#[tokio::test(start_paused = true)]
async fn under_half_as_much_again_as_can_be_answered_nearly_all_that_can_be_is_answered_in_time() {
    for busy in [
        Busy::new(1, 8, |_| MS(10)),
        Busy::new(1, 8, |rows| MS(2) * rows as u32),
        Busy::new(1, 16, |rows| MS(5) + MS(1) * rows as u32 / 2),
        Busy::new(4, 16, |rows| MS(8) + MS(1) * rows as u32 / 4),
        Busy::new(2, 16, |rows| MS(16) + MS(1) * rows as u32 / 2),
        Busy { shapes: 3, ..Busy::new(1, 8, |rows| MS(4) + MS(1) * rows as u32 / 4) },
        Busy { shapes: 3, ..Busy::new(4, 8, |_| MS(8)) },
    ] {
        let (goodput, wasted, told) = overloaded(busy).await;
        assert!(goodput >= 0.9 && wasted <= 0.001, "{told}");
    }
}

/// A time between two thirds and four thirds of the given one.
fn scattered(time: Duration) -> Duration {
    thread_local!(static RANDOM: std::cell::RefCell<fastrand::Rng> = fastrand::Rng::with_seed(11).into());
    time.mul_f64(RANDOM.with_borrow_mut(|random| 2.0 / 3.0 + random.f64() * 2.0 / 3.0))
}

#[tokio::test(start_paused = true)]
async fn where_runs_take_now_more_and_now_less_few_are_run_in_vain() {
    for busy in [
        Busy::new(1, 8, |_| scattered(MS(10))),
        Busy::new(1, 16, |rows| scattered(MS(5) + MS(1) * rows as u32 / 2)),
        Busy::new(4, 16, |rows| scattered(MS(8) + MS(1) * rows as u32 / 4)),
    ] {
        let (goodput, wasted, told) = overloaded(busy).await;
        assert!(goodput >= 0.9 && wasted <= 0.01, "{told}");
    }
}
