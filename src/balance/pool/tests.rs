//! Calls whose endpoint seems dead, against real HTTP/2 servers over pipes in memory, with the clock standing still.

use std::sync::Mutex;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use http::Response;
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::balance::endpoint::Kept;
use crate::balance::fixture::{MS, connected, floats, piped, request, rules, tactics};
use crate::balance::load::{Binding, Load};
use crate::balance::pick::Policy;
use crate::infer::{Forms, Notes, Parameters, Trace, TraceContext, Work};
use crate::wire::{oip, samples, status};

/// When calls know that their endpoint seems dead: after its silence, and a third of the time for a ping.
const SUSPECTED: Duration = Duration::from_millis(250 + 200);
/// When they are lost with their connection.
const GIVEN_UP: Duration = Duration::from_millis(250 + 600);

/// What a server does with a call: answers it after so long.
const RUN: Duration = Duration::from_millis(10);

/// An endpoint, and its server that can be frozen: then it reads and writes nothing.
struct Server {
    kept: Kept,
    frozen: watch::Sender<bool>,
    /// The `grpc-previous-rpc-attempts` of each call that it took.
    taken: Arc<Mutex<Vec<Option<String>>>>,
}

impl Server {
    async fn start(number: u16) -> Server {
        let (kept, mut arriving) = piped(number, rules(250 * MS, 600 * MS));
        let (frozen, is_frozen) = watch::channel(false);
        let taken = Arc::<Mutex<Vec<_>>>::default();
        let log = taken.clone();
        tokio::spawn(async move {
            while let Some(stream) = arriving.recv().await {
                tokio::spawn(serve(stream, is_frozen.clone(), log.clone()));
            }
        });
        connected(&kept).await;
        Server { kept, frozen, taken }
    }

    fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    fn taken(&self) -> Vec<Option<String>> {
        self.taken.lock().unwrap().clone()
    }
}

async fn serve(stream: DuplexStream, mut frozen: watch::Receiver<bool>, log: Arc<Mutex<Vec<Option<String>>>>) {
    let mut connection = server::Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
    loop {
        let _ = frozen.wait_for(|frozen| !frozen).await;
        tokio::select! {
            biased;
            _ = frozen.wait_for(|frozen| *frozen) => {}
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let previous = request.headers().get("grpc-previous-rpc-attempts");
                log.lock().unwrap().push(previous.map(|previous| previous.to_str().unwrap().to_owned()));
                tokio::spawn(answer(respond));
            }
        }
    }
}

async fn answer(mut respond: SendResponse<Bytes>) {
    sleep(RUN).await;
    let message = oip::encode(&samples::answer([floats("y", 1)], Parameters::default()), "", oip::Form::Raw);
    // One that was cancelled takes no answer.
    let Ok(mut stream) = respond.send_response(Response::new(()), false) else { return };
    let _ = stream.send_data(message.to_bytes(), false);
    let _ = stream.send_trailers(status::ok_trailers());
}

/// A pool over servers that get calls by turns.
struct Rig {
    servers: Vec<Server>,
    pool: Arc<Pool>,
}

impl Rig {
    async fn of(count: u16, pure: bool) -> Rig {
        let now = now();
        let mut servers = Vec::new();
        for number in 1..=count {
            servers.push(Server::start(number).await);
        }
        let tactics = tactics(Policy::RoundRobin, Traits { pure, hedged: false });
        let member = |server: &Server| {
            let load = Load::new(Binding::Early, None, now, now);
            Arc::new(Member::new(server.kept.endpoint().clone(), load, now))
        };
        let members = Members { near: servers.iter().map(member).collect(), far: Vec::new() };
        let pool = Arc::new(Pool::new(tactics));
        pool.exchange(members);
        Rig { servers, pool }
    }

    /// Calls that come now; each tells how long it took.
    fn call(&self, count: usize) -> Vec<JoinHandle<(Result<InferResponse>, Duration)>> {
        (0..count).map(|_| tokio::spawn(timed(self.pool.clone()))).collect()
    }

    /// Makes the first of its endpoints take no more calls, and not say so.
    fn freeze(&self) {
        self.servers[0].freeze(true);
    }

    fn hedges(&self) -> u64 {
        self.pool.tactics.extra.hedges.load(Relaxed)
    }

    fn in_flight(&self) -> Vec<u32> {
        self.pool.members().iter().map(|member| member.load().calls()).collect()
    }
}

async fn timed(pool: Arc<Pool>) -> (Result<InferResponse>, Duration) {
    let began = now();
    let answer = pool.answer(request(1)).await;
    (answer, now() - began)
}

/// How long each took, of calls that are answered.
async fn answered(calls: Vec<JoinHandle<(Result<InferResponse>, Duration)>>) -> Vec<Duration> {
    let mut times = Vec::new();
    for call in calls {
        let (answer, took) = call.await.unwrap();
        answer.unwrap();
        times.push(took);
    }
    times
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_pure_model_at_an_endpoint_that_seems_dead_is_asked_of_another_at_once() {
    let rig = Rig::of(2, true).await;
    rig.freeze();
    let times = answered(rig.call(6)).await;
    let slow: Vec<&Duration> = times.iter().filter(|took| **took > MS * 100).collect();
    assert_eq!(slow.len(), 3, "{times:?}");
    assert!(slow.iter().all(|took| **took >= SUSPECTED && **took < SUSPECTED + 3 * RUN), "{times:?}");
    let again: Vec<String> = rig.servers[1].taken().into_iter().flatten().collect();
    assert_eq!((rig.hedges(), again), (3, vec!["1".to_owned(); 3]));
    assert_eq!(rig.in_flight(), [0, 0], "those that were asked in vain are over too");
    assert_eq!(rig.pool.tactics.budget.left(now()), 100 + 6 / 5 - 3);
}

#[tokio::test(start_paused = true)]
async fn the_attempts_of_a_call_are_noted_with_why_each_was_made_and_one_that_is_given_up_has_no_end() {
    let rig = Rig::of(2, true).await;
    rig.freeze();
    let mut request = request(1);
    let context = TraceContext { trace_id: 1, span_id: 1, sampled: true };
    let (forms, notes) = (Forms::default(), Some(Notes::begin(None)));
    let trace = Arc::new(Trace { context, state: None, baggage: None, forms, notes });
    request.members[0].trace = Some(trace.clone());
    rig.pool.clone().answer(request).await.unwrap();
    let works = trace.notes.as_ref().unwrap().works();
    let Work::Hop(hop) = &works.kept[0] else { panic!("{works:?}") };
    let told: Vec<_> = hop.attempts().iter().map(|attempt| (attempt.why, attempt.ended.is_some())).collect();
    assert_eq!(told, [(Why::First, false), (Why::Silence, true)]);
    assert_eq!((hop.picker, hop.attempts()[1].earlier), ("round-robin", 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_model_that_must_run_once_waits_until_the_connection_is_given_up() {
    let rig = Rig::of(2, false).await;
    rig.freeze();
    let mut ends = Vec::new();
    for call in rig.call(6) {
        ends.push(call.await.unwrap());
    }
    let lost: Vec<_> = ends.into_iter().filter_map(|(answer, took)| Some((answer.err()?.kind(), took))).collect();
    assert_eq!(lost.len(), 3);
    assert!(lost.iter().all(|(kind, took)| *kind == Kind::BackendLost && *took >= GIVEN_UP), "{lost:?}");
    assert_eq!((rig.hedges(), rig.servers[1].taken().len()), (0, 3));
    rig.servers[0].freeze(false);
    sleep(MS * 100).await;
    assert!(rig.servers[0].taken().len() <= 3, "none was sent twice");
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_are_asked_of_another_than_the_budget_has() {
    let rig = Rig::of(2, true).await;
    while rig.pool.tactics.budget.left(now()) > 5 {
        assert!(rig.pool.tactics.budget.withdraw(now()));
    }
    rig.freeze();
    let calls = rig.call(20);
    sleep(SUSPECTED + 3 * RUN).await;
    // A fifth of twenty calls more.
    assert_eq!((rig.hedges(), rig.servers[1].taken().len()), (9, 10 + 9));
    assert_eq!(rig.pool.tactics.budget.left(now()), 0);
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_answers_after_all_is_believed_and_the_other_call_is_cancelled() {
    let rig = Rig::of(2, true).await;
    rig.freeze();
    let calls = rig.call(4);
    sleep(SUSPECTED - MS * 50).await;
    // The other one stops as well, so that only who seemed dead can answer.
    rig.servers[1].freeze(true);
    sleep(MS * 60).await;
    assert_eq!(rig.hedges(), 2);
    rig.servers[0].freeze(false);
    let times = answered(calls).await;
    assert_eq!(times.iter().filter(|took| **took > SUSPECTED).count(), 2, "{times:?}");
    assert_eq!(rig.pool.tactics.extra.retries.load(Relaxed), 0);
    assert_eq!(rig.in_flight(), [0, 0]);
    let now = now();
    let members = rig.pool.members();
    assert!(members.near[0].admits(now) && members.near[1].breaker.admits(now), "nothing is held against either");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_found_nobody_is_sent_over_a_connection_that_has_come_up_meanwhile() {
    let rig = Rig::of(1, false).await;
    assert!(!rig.servers[0].kept.endpoint().is_renewing());
    // What a call does next whose pick was a moment earlier.
    let sent = rig.pool.place_renewed(&Tried::new(), 1).await;
    assert!(sent.is_ok(), "{:?}", sent.err());
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_other_the_answer_of_who_seems_dead_is_waited_for() {
    let rig = Rig::of(1, true).await;
    rig.freeze();
    let calls = rig.call(3);
    sleep(SUSPECTED + MS * 100).await;
    rig.servers[0].freeze(false);
    assert_eq!(answered(calls).await.len(), 3);
    assert_eq!(rig.hedges(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_second_endpoint_seems_dead_too_is_asked_of_a_third_and_of_no_more() {
    let rig = Rig::of(4, true).await;
    rig.freeze();
    // Each of the others freezes when it has the call.
    let calls = rig.call(1);
    for _ in 0..3 {
        sleep(MS).await;
        rig.servers[1..].iter().for_each(|server| server.freeze(true));
        sleep(SUSPECTED).await;
    }
    let (answer, _) = calls.into_iter().next().unwrap().await.unwrap();
    assert_eq!(answer.unwrap_err().kind(), Kind::BackendLost);
    assert_eq!(rig.hedges() + rig.pool.tactics.extra.retries.load(Relaxed), 2, "three attempts are enough");
}
