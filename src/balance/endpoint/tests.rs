//! An endpoint against a real HTTP/2 server over pipes in memory, with the clock standing still.

use std::io;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::balance::fixture::{self, MS, piped};

type Connection = server::Connection<DuplexStream, Bytes>;
type Calling = JoinHandle<Result<Reply, Failed>>;

fn rules() -> Rules {
    Rules { connections: 2, ..fixture::rules(250 * MS, 600 * MS) }
}

/// An endpoint, and where its connections arrive.
struct Site {
    kept: Kept,
    arriving: mpsc::Receiver<DuplexStream>,
}

impl Site {
    fn start() -> Site {
        let (kept, arriving) = piped(8001, rules());
        Site { kept, arriving }
    }

    /// One that is connected, and the backend's side of that, which takes so many calls at one time.
    async fn with(streams: u32) -> (Site, Connection) {
        let mut site = Site::start();
        let connection = site.accept(streams).await;
        site.connected().await;
        (site, connection)
    }

    async fn accept(&mut self, streams: u32) -> Connection {
        let stream = self.arriving.recv().await.unwrap();
        server::Builder::new().max_concurrent_streams(streams).handshake(stream).await.unwrap()
    }

    fn endpoint(&self) -> &Arc<Endpoint> {
        self.kept.endpoint()
    }

    async fn connected(&self) {
        fixture::connected(&self.kept).await;
    }

    fn is_reachable(&self) -> bool {
        self.endpoint().is_reachable()
    }

    /// A call begins.
    fn begin(&self) -> Calling {
        tokio::spawn(call(self.endpoint().clone()))
    }

    /// A call begins, and has come to the backend over this connection.
    async fn begun(&self, connection: &mut Connection) -> (Calling, SendResponse<Bytes>) {
        let calling = self.begin();
        let (_, respond) = next(connection).await;
        (calling, respond)
    }
}

async fn call(endpoint: Arc<Endpoint>) -> Result<Reply, Failed> {
    let path = PathAndQuery::from_static("/s/M");
    endpoint.call(&path, &HeaderMap::new(), &Bytes::from_static(b"\0\0\0\0\x02hi").into()).await
}

async fn next(connection: &mut Connection) -> (Request<RecvStream>, SendResponse<Bytes>) {
    connection.accept().await.unwrap().unwrap()
}

fn answer(mut respond: SendResponse<Bytes>, message: &'static [u8]) {
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from_static(message), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
}

/// The message of the answer to a call that is answered.
async fn answered(calling: Calling) -> Bytes {
    calling.await.unwrap().unwrap().message.unwrap()
}

/// Reads and writes the connection for so long, taking no calls.
async fn serve_for(connection: &mut Connection, time: Duration) {
    let _ = timeout(time, connection.accept()).await;
}

/// The same for as long as it lives.
fn serve_on(mut connection: Connection) {
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_out_as_it_is_and_its_answer_comes_back_with_its_trailers() {
    let (site, mut connection) = Site::with(100).await;
    let calling = site.begin();
    let (request, respond) = next(&mut connection).await;
    assert_eq!(request.uri(), "http://127.0.0.1:8001/s/M");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    answer(respond, b"\0\0\0\0\x03yes");
    serve_on(connection);
    let reply = calling.await.unwrap().unwrap();
    assert_eq!(reply.message.unwrap(), "yes");
    assert_eq!(reply.trailers["grpc-status"], "0");
    assert_eq!(site.endpoint().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_refused_and_one_above_the_last_never_ran_and_one_that_was_cut_may_have() {
    let (site, mut connection) = Site::with(100).await;

    let (calling, mut respond) = site.begun(&mut connection).await;
    respond.send_reset(Reason::REFUSED_STREAM);
    let ended = tokio::select! { ended = calling => ended.unwrap(), _ = connection.accept() => unreachable!() };
    assert_eq!(ended.unwrap_err().ran, Ran::Never);

    let cut = site.begin();
    let (_request, _respond) = next(&mut connection).await;
    drop(connection);
    let failed = cut.await.unwrap().unwrap_err();
    assert_eq!((failed.error.kind(), failed.ran), (Kind::BackendLost, Ran::Maybe));
}

#[tokio::test(start_paused = true)]
async fn a_backend_on_its_way_out_finishes_what_it_took_and_what_comes_later_goes_over_another_connection() {
    let (mut site, mut first) = Site::with(100).await;
    let (taken, respond) = site.begun(&mut first).await;
    first.graceful_shutdown();
    serve_on(first);
    let endpoint = site.endpoint().clone();
    let (later, mut second) = tokio::join!(
        async {
            // The first call that finds the connection closed has it replaced; nothing of it was sent.
            loop {
                match call(endpoint.clone()).await {
                    Err(failed) => {
                        assert_eq!(failed.ran, Ran::Never);
                        sleep(MS).await;
                    }
                    Ok(reply) => break reply,
                }
            }
        },
        async {
            let mut second = site.accept(100).await;
            let (_, respond) = next(&mut second).await;
            answer(respond, b"\0\0\0\0\x01b");
            serve_for(&mut second, MS).await;
            second
        },
    );
    assert_eq!(later.message.unwrap(), "b");
    answer(respond, b"\0\0\0\0\x01a");
    assert_eq!(answered(taken).await, "a");
    serve_for(&mut second, MS).await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_backend_is_suspected_and_then_given_up_with_its_calls() {
    let (site, connection) = Site::with(100).await;
    let began = Instant::now();
    let calling = site.begin();
    // Nobody reads or writes the connection from here on, and yet it stays open.
    sleep(500 * MS).await;
    assert!(!site.is_reachable(), "after 250 ms of silence and 200 ms without a pong");
    let failed = timeout(Duration::from_secs(5), calling).await.unwrap().unwrap().unwrap_err();
    assert_eq!((failed.error.kind(), failed.ran), (Kind::BackendLost, Ran::Maybe));
    assert!(began.elapsed() < 1100 * MS, "{:?}", began.elapsed());
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_is_asked_sooner_whether_it_lives_where_it_may_be_asked_at_any_time() {
    for (takes_pings, expected) in [(true, 2 * 250 + 200), (false, 3 * 1000 + 200)] {
        let mut site = Site::start();
        site.endpoint().set_takes_pings(takes_pings);
        let mut connection = site.accept(100).await;
        site.connected().await;
        let (calling, respond) = site.begun(&mut connection).await;
        serve_for(&mut connection, Duration::from_secs(1)).await;
        answer(respond, b"\0\0\0\0\x04slow");
        serve_for(&mut connection, MS).await;
        calling.await.unwrap().unwrap();
        let (began, waiting) = (Instant::now(), site.begin());
        site.endpoint().suspected().await;
        let took = began.elapsed().as_millis();
        assert!((expected..expected + 20).contains(&took), "{took} ms for {expected}");
        waiting.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_that_answers_pings_is_waited_for() {
    let (site, mut connection) = Site::with(100).await;
    let (calling, respond) = site.begun(&mut connection).await;
    serve_on(connection);
    sleep(Duration::from_secs(30)).await;
    assert!(site.is_reachable());
    answer(respond, b"\0\0\0\0\x04slow");
    assert_eq!(answered(calling).await, "slow");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_reachable_as_long_as_one_of_its_connections_is_open() {
    let mut site = Site::start();
    assert!(!site.is_reachable());
    let mut first = site.accept(1).await;
    site.connected().await;
    assert!(site.is_reachable());
    let (one, respond) = site.begun(&mut first).await;
    // The backend's settings have come with its first answer to anything.
    serve_for(&mut first, 300 * MS).await;
    // It finds the one stream taken, and waits for it.
    let two = site.begin();
    let mut second = site.accept(1).await;
    sleep(MS).await;
    let (three, other) = site.begun(&mut second).await;
    drop((first, respond));
    one.await.unwrap().unwrap_err();
    two.abort();
    assert!(site.is_reachable(), "the second is open");
    drop((second, other));
    three.await.unwrap().unwrap_err();
    assert!(!site.is_reachable());
    let _third = site.accept(1).await;
    site.connected().await;
    assert!(site.is_reachable());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_no_longer_kept_finishes_its_calls_and_is_not_reachable() {
    let (site, mut connection) = Site::with(100).await;
    let (calling, respond) = site.begun(&mut connection).await;
    serve_on(connection);
    let Site { kept, arriving: _arriving } = site;
    let endpoint = kept.endpoint().clone();
    drop(kept);
    assert!(!endpoint.is_reachable());
    answer(respond, b"\0\0\0\0\x04last");
    assert_eq!(answered(calling).await, "last");
    assert!(!endpoint.is_reachable());
}

#[tokio::test(start_paused = true)]
async fn another_connection_is_opened_where_the_streams_of_one_run_out() {
    let (mut site, mut first) = Site::with(1).await;
    let (one, respond) = site.begun(&mut first).await;
    serve_on(first);
    // The backend's settings have come with its first answer to anything.
    sleep(300 * MS).await;
    let two = site.begin();
    let mut second = site.accept(1).await;
    sleep(MS).await;
    let (three, third) = site.begun(&mut second).await;
    answer(third, b"\0\0\0\0\x013");
    serve_on(second);
    assert_eq!(answered(three).await, "3");
    assert!(!one.is_finished());
    answer(respond, b"\0\0\0\0\x011");
    one.await.unwrap().unwrap();
    two.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_dialled_again_and_calls_meanwhile_are_told_why_they_have_nowhere_to_go() {
    let (mut site, first) = Site::with(100).await;
    drop(first);
    site.endpoint().connectivity().wait_for(|now| matches!(now, Connectivity::Lost(_))).await.unwrap();
    let failed = call(site.endpoint().clone()).await.unwrap_err();
    assert_eq!((failed.error.kind(), failed.ran), (Kind::NoBackend, Ran::Never));
    assert!(failed.error.message().starts_with("backend 127.0.0.1:8001 is not connected: "), "{}", failed.error);
    let _second = site.accept(100).await;
    site.connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_cannot_be_dialled_is_told_of_and_tried_again() {
    let dial = Dial::through(|_| std::future::ready(Err::<DuplexStream, _>(io::Error::other("no route"))));
    let backend = Backend::at(([127, 0, 0, 1], 8001).into());
    let kept = Kept::start(&backend, dial, Arc::new(rules()));
    let lost = Connectivity::Lost("no route".to_owned());
    kept.endpoint().connectivity().wait_for(|now| *now == lost).await.unwrap();
}
