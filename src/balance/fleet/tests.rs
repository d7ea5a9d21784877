//! A fleet against real HTTP/2 servers over pipes in memory, with the clock standing still.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Wake;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::Response;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::balance::endpoint::{Connectivity, Dial, Kept, Rules};
use crate::balance::load::{Binding, Load};
use crate::balance::pick::{Picker, Policy, SlowStart};
use crate::balance::pool::{Members, Tactics, Traits};
use crate::balance::{Hedging, RetryBudget};
use crate::discover::{Backend, Condition};
use crate::error::Kind;
use crate::infer::{
    Close, Composition, InferRequest, Interest, LoadReport, ModelName, Outcome, Parameters, Target, Timeline,
    VersionChoice,
};
use crate::tensor::{DType, Rope, Shape, Tensor};
use crate::wire::{PREFIX, oip, orca, origin, samples, status};

const MS: Duration = Duration::from_millis(1);
/// What a run takes at the endpoints of these tests.
const RUN: Duration = Duration::from_millis(10);

/// An endpoint whose calls come to the test.
struct Server {
    kept: Kept,
    asked: mpsc::Receiver<Asked>,
    lose: Option<oneshot::Sender<()>>,
}

/// A call that came to an endpoint.
struct Asked {
    rows: i64,
    at: Instant,
    respond: SendResponse<Bytes>,
}

impl Server {
    async fn start(number: u16) -> Server {
        let (streams, mut arriving) = mpsc::channel::<DuplexStream>(4);
        let dial = Dial::through(move |_: SocketAddr| {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let taken = streams.try_send(theirs).map(|()| ours);
            std::future::ready(taken.map_err(|_| std::io::Error::other("refused")))
        });
        let backend = Backend { condition: Condition::Ready, ..Backend::at(([127, 0, 0, 1], number).into()) };
        let kept = Kept::start(&backend, dial, Arc::new(rules()));
        let (ask, asked) = mpsc::channel(64);
        let (lose, lost) = oneshot::channel();
        let stream = arriving.recv().await.unwrap();
        tokio::spawn(async move {
            tokio::select! { () = serve(stream, ask) => {}, _ = lost => {} }
        });
        kept.endpoint().connectivity().wait_for(|now| *now == Connectivity::Connected).await.unwrap();
        Server { kept, asked, lose: Some(lose) }
    }

    /// The next call, which comes now.
    async fn next(&mut self) -> Asked {
        timeout(MS, self.asked.recv()).await.expect("a call comes").unwrap()
    }
}

async fn serve(stream: DuplexStream, ask: mpsc::Sender<Asked>) {
    let mut connection = server::Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let ask = ask.clone();
        tokio::spawn(async move {
            assert!(request.headers().contains_key(origin::HEADER));
            let rows = rows_in(request.into_body()).await;
            let _ = ask.send(Asked { rows, at: now(), respond }).await;
        });
    }
}

async fn rows_in(mut body: RecvStream) -> i64 {
    let mut message = BytesMut::new();
    while let Some(Ok(part)) = body.data().await {
        let _ = body.flow_control().release_capacity(part.len());
        message.extend_from_slice(&part);
    }
    oip::decode(message.freeze().slice(PREFIX..), 1 << 20).unwrap().inputs[0].shape()[0]
}

impl Asked {
    /// Answers it, and says how busy the endpoint is then.
    fn answer(mut self) {
        let execution = now() - self.at;
        let report = LoadReport { free_slots: 1, execution, run: RUN, ..LoadReport::default() };
        let message =
            oip::encode(&samples::answer([floats("y", self.rows)], Parameters::default()), "", oip::Form::Raw);
        // One that was cancelled takes no answer.
        let Ok(mut stream) = self.respond.send_response(Response::new(()), false) else { return };
        stream.send_data(message.to_bytes(), false).unwrap();
        let mut trailers = status::ok_trailers();
        trailers.insert(orca::TRAILER, orca::trailer(&report).parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    }

    /// Waits until nobody wants its answer any more.
    async fn given_up(mut self) {
        timeout(MS, std::future::poll_fn(|cx| self.respond.poll_reset(cx))).await.expect("it is cancelled").unwrap();
    }
}

fn rules() -> Rules {
    Rules {
        connect_timeout: Duration::from_secs(1),
        silence: Duration::from_secs(60),
        ping_timeout: Duration::from_secs(60),
        connections: 1,
        windows: (1 << 20, 1 << 20),
        message_size: 1 << 20,
    }
}

fn floats(name: &'static str, rows: i64) -> Tensor {
    let data = Rope::from(vec![0; 4 * rows as usize]);
    Tensor::new(name.into(), DType::Fp32, Shape::new(&[rows, 1]).unwrap(), data).unwrap()
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A fleet, its endpoints, and what waits in front of it.
struct Rig {
    servers: Vec<Server>,
    pool: Arc<Pool>,
    fleet: Fleet,
    woken: Arc<Woken>,
}

/// Where a batch's answer comes.
struct Running {
    interest: Arc<Interest>,
    outcome: oneshot::Receiver<Outcome>,
}

impl Rig {
    /// Endpoints of which nothing is known yet, for batches of 8 rows.
    async fn fresh(count: u16, pure: bool) -> Rig {
        let now = now();
        let mut servers = Vec::new();
        for number in 1..=count {
            servers.push(Server::start(number).await);
        }
        let traits = Traits { pure, hedged: true };
        let tactics = Arc::new(Tactics {
            name: "m".parse().unwrap(),
            picker: Picker::new(Policy::default(), Zones::default(), SlowStart::default()),
            budget: RetryBudget::new(now),
            hedging: Hedging::new(now),
            traits: arc_swap::ArcSwap::from_pointee(traits),
            message_size: 1 << 20,
            origin: origin::origin(1),
            bell: Arc::default(),
            zero: now,
            extra: Default::default(),
            changes: Arc::default(),
            astir: Default::default(),
        });
        let member = |server: &Server| {
            let load = Load::new(Binding::Late, Some(8), tactics.zero, now);
            Arc::new(Member::new(server.kept.endpoint().clone(), load, now).ringing(tactics.bell.clone()))
        };
        let members = Members { near: servers.iter().map(member).collect(), far: Vec::new() };
        let pool = Arc::new(Pool::new(tactics));
        pool.exchange(members);
        Rig { servers, fleet: Fleet::new(pool.clone(), 8), pool, woken: Arc::default() }
    }

    /// The same once each endpoint has said how busy it is: not at all.
    async fn known(count: u16, pure: bool) -> Rig {
        let mut rig = Rig::fresh(count, pure).await;
        let mut first = Vec::new();
        for _ in 0..count {
            first.push(rig.slot(1).expect("an idle endpoint takes a batch").1);
        }
        sleep(RUN).await;
        for server in &mut rig.servers {
            server.next().await.answer();
        }
        for running in first {
            running.outcome.await.unwrap().unwrap();
        }
        // Until the runs that the reports tell of are over.
        sleep(2 * RUN).await;
        rig
    }

    fn poll(&mut self, rows: usize) -> Option<FleetSlot> {
        let backlog = Backlog { calls: rows, rows, bytes: 4 * rows, earliest_deadline: now() + Duration::from_secs(9) };
        let waker = Waker::from(self.woken.clone());
        match self.fleet.poll_slot(&mut Context::from_waker(&waker), &backlog) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        }
    }

    /// Runs as many of the rows as may go now, where any may.
    fn slot(&mut self, rows: usize) -> Option<(usize, Running)> {
        let slot = self.poll(rows)?;
        let rows = rows.min(slot.rows());
        let (running, batch) = batch(rows);
        slot.run(batch);
        Some((rows, running))
    }

    fn woken(&self) -> usize {
        self.woken.0.load(Relaxed)
    }

    fn in_flight(&self) -> Vec<u32> {
        self.pool.members().iter().map(|member| member.load().calls()).collect()
    }
}

fn batch(rows: usize) -> (Running, Batch) {
    let now = now();
    let name = ModelName::new("m".into()).unwrap();
    let member = crate::infer::Member {
        id: "".into(),
        deadline: now + Duration::from_secs(9),
        trace: None,
        previous_attempts: 0,
        timeline: Timeline::start(now),
    };
    let target = Target { name, version: VersionChoice::Latest };
    let request = Box::new(InferRequest::new(target, [floats("x", rows as i64)], member));
    let composition = Composition { rows, elements: rows, padding: 0, closed: Close::SlotFree };
    let (answer, outcome) = oneshot::channel();
    let interest = Interest::of(1);
    let batch = Batch::new(request, interest.clone(), composition, move |outcome| _ = answer.send(outcome));
    (Running { interest, outcome }, batch)
}

#[tokio::test(start_paused = true)]
async fn what_finds_an_endpoint_idle_goes_there_at_once() {
    let mut rig = Rig::known(3, false).await;
    let began = now();
    for rows in 1..=3 {
        assert_eq!(rig.slot(rows).expect("one of them is idle").0, rows);
    }
    assert_eq!(rig.in_flight(), [1, 1, 1]);
    assert_eq!(now(), began);
    assert!(rig.poll(1).is_none());
}

#[tokio::test(start_paused = true)]
async fn to_endpoints_that_do_not_say_how_busy_they_are_calls_go_one_by_one_as_they_come() {
    let mut rig = Rig::fresh(3, false).await;
    for waiting in (1..=6).rev() {
        assert_eq!(rig.slot(waiting).expect("nothing says that they are busy").0, 1);
    }
    assert_eq!(rig.in_flight(), [2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn while_all_are_busy_calls_gather_and_go_out_together_when_one_is_free() {
    let mut rig = Rig::known(1, false).await;
    let (_, first) = rig.slot(1).unwrap();
    let asked = rig.servers[0].next().await;
    for waiting in 1..5 {
        assert!(rig.poll(waiting).is_none(), "it runs for 10 ms");
    }
    // A little before the run is over the next batch is on its way.
    let woken = rig.woken();
    advance(RUN + MS).await;
    sleep(MS).await;
    assert!(rig.woken() > woken, "a timer says so");
    let (rows, second) = rig.slot(5).expect("the run is nearly over");
    assert_eq!((rows, rig.servers[0].next().await.rows), (5, 5));
    // No third one, for however long the first takes.
    sleep(100 * RUN).await;
    assert!(rig.poll(3).is_none());
    let woken = rig.woken();
    asked.answer();
    let response = first.outcome.await.unwrap().unwrap();
    assert_eq!((response.rows, response.execution.members), (1, 1));
    assert!(rig.woken() > woken, "an answer says so");
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_no_more_rows_than_the_largest_and_its_load_is_that_of_the_rows_that_went() {
    let mut rig = Rig::known(1, false).await;
    let slot = rig.poll(20).unwrap();
    assert_eq!(slot.rows(), 8);
    let (_running, few) = batch(3);
    slot.run(few);
    assert_eq!(rig.pool.members().near[0].load().rows(), 3);
    assert_eq!(rig.servers[0].next().await.rows, 3);
}

#[tokio::test(start_paused = true)]
async fn no_endpoint_ever_has_more_rows_than_it_runs_at_one_time_and_one_batch_beside() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut rig = Rig::known(3, false).await;
    let (mut asked, mut running, mut sent, mut most) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..400 {
        while let Some((_, batch)) = rig.slot(rng.usize(1..20)) {
            running.push(batch);
            sent += 1;
            let rows: Vec<u32> = rig.pool.members().iter().map(|member| member.load().rows()).collect();
            assert!(rows.iter().all(|rows| *rows <= 8 + 8), "{rows:?}");
            most = rows.into_iter().fold(most, u32::max);
        }
        sleep(MS * rng.u32(0..8)).await;
        for server in &mut rig.servers {
            while let Ok(call) = server.asked.try_recv() {
                asked.push(call);
            }
        }
        if rng.u8(..) < 150 && !asked.is_empty() {
            asked.swap_remove(rng.usize(..asked.len())).answer();
        }
        if rng.u8(..) < 20 && !running.is_empty() {
            running.swap_remove(rng.usize(..running.len())).interest.leave();
        }
    }
    assert!(sent > 100 && most > 8, "{sent} {most}");
    for batch in running {
        batch.interest.leave();
    }
    sleep(MS).await;
    assert_eq!(rig.in_flight(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_a_pure_model_whose_endpoint_is_lost_goes_to_another() {
    let mut rig = Rig::known(2, true).await;
    let (_, running) = rig.slot(4).unwrap();
    let there = rig.in_flight().iter().position(|calls| *calls == 1).unwrap();
    let _lost = rig.servers[there].next().await;
    rig.servers[there].lose.take().unwrap().send(()).unwrap();
    let elsewhere = rig.servers[1 - there].next().await;
    assert_eq!(elsewhere.rows, 4);
    elsewhere.answer();
    assert_eq!(running.outcome.await.unwrap().unwrap().rows, 4);
    assert_eq!(rig.in_flight(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_another_model_whose_endpoint_is_lost_fails_with_it() {
    let mut rig = Rig::known(2, false).await;
    let (_, running) = rig.slot(4).unwrap();
    let there = rig.in_flight().iter().position(|calls| *calls == 1).unwrap();
    let _lost = rig.servers[there].next().await;
    rig.servers[there].lose.take().unwrap().send(()).unwrap();
    assert_eq!(running.outcome.await.unwrap().unwrap_err().kind(), Kind::BackendLost);
    assert_eq!(rig.in_flight(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_nobody_waits_for_is_cancelled_and_its_place_is_free() {
    let mut rig = Rig::known(1, false).await;
    let (_, running) = rig.slot(1).unwrap();
    let asked = rig.servers[0].next().await;
    assert!(rig.poll(1).is_none());
    let woken = rig.woken();
    running.interest.leave();
    asked.given_up().await;
    assert_eq!(running.outcome.await.unwrap().unwrap_err().kind(), Kind::Cancelled);
    assert_eq!(rig.in_flight(), [0]);
    assert!(rig.woken() > woken);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_dropped_unused_gives_its_place_back() {
    let mut rig = Rig::known(1, false).await;
    for _ in 0..5 {
        let slot = rig.poll(8).expect("it is idle");
        assert_eq!(rig.in_flight(), [1]);
        drop(slot);
        assert_eq!(rig.in_flight(), [0]);
        let load = rig.pool.members();
        let load = load.near[0].load();
        assert_eq!((load.rows(), load.free_in(now())), (0, Some(Duration::ZERO)));
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_takes_batches_they_are_told_so_at_once() {
    let mut rig = Rig::known(1, false).await;
    rig.servers[0].lose.take().unwrap().send(()).unwrap();
    let mut connectivity = rig.servers[0].kept.endpoint().connectivity();
    connectivity.wait_for(|now| matches!(now, Connectivity::Lost(_))).await.unwrap();
    let (_, running) = rig.slot(2).expect("nothing is waited for");
    assert_eq!(running.outcome.await.unwrap().unwrap_err().kind(), Kind::NoBackend);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_members_wakes_and_dropping_the_fleet_frees_everything() {
    let mut rig = Rig::known(1, false).await;
    let (_, running) = rig.slot(1).unwrap();
    assert!(rig.poll(1).is_none());
    let woken = rig.woken();
    let members = rig.pool.members();
    rig.pool.exchange(Members { near: members.near.clone(), far: Vec::new() });
    assert!(rig.woken() > woken);
    let (member, pool) = (members.near[0].clone(), Arc::downgrade(&rig.pool));
    assert!(rig.poll(1).is_none());
    let Rig { fleet, pool: ours, .. } = rig;
    running.interest.leave();
    drop((fleet, ours, members));
    sleep(100 * RUN).await;
    assert_eq!((pool.strong_count(), Arc::strong_count(&member)), (0, 1));
}
