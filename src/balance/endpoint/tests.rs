//! An endpoint against a real HTTP/2 server over pipes in memory, with the clock standing still.

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::io::DuplexStream;
use tokio::time::{Instant, timeout};

use super::*;
use crate::discover::Condition;

type Connection = server::Connection<DuplexStream, Bytes>;

/// Where connections of an endpoint arrive.
struct Listening(Arc<Mutex<VecDeque<DuplexStream>>>, Arc<Notify>);

impl Listening {
    async fn accept(&self, streams: u32) -> Connection {
        loop {
            let stream = self.0.lock().unwrap().pop_front();
            if let Some(stream) = stream {
                return server::Builder::new().max_concurrent_streams(streams).handshake(stream).await.unwrap();
            }
            self.1.notified().await;
        }
    }
}

fn rules() -> Rules {
    Rules {
        connect_timeout: Duration::from_secs(1),
        silence: Duration::from_millis(250),
        ping_timeout: Duration::from_millis(600),
        connections: 2,
        windows: (1 << 20, 1 << 20),
        message_size: 1 << 20,
    }
}

fn kept() -> (Kept, Listening) {
    let (queue, news) = (Arc::new(Mutex::new(VecDeque::new())), Arc::new(Notify::new()));
    let listening = Listening(queue.clone(), news.clone());
    let dial = Dial::through(move |_| {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        queue.lock().unwrap().push_back(theirs);
        news.notify_one();
        std::future::ready(Ok(ours))
    });
    let backend = Backend { condition: Condition::Ready, ..Backend::at(([127, 0, 0, 1], 8001).into()) };
    (Kept::start(&backend, dial, Arc::new(rules())), listening)
}

async fn connected(kept: &Kept) {
    kept.endpoint().connectivity().wait_for(|now| *now == Connectivity::Connected).await.unwrap();
}

fn call(kept: &Kept) -> impl Future<Output = Result<Reply, Failed>> + use<> {
    let endpoint = kept.endpoint().clone();
    async move {
        let path = PathAndQuery::from_static("/s/M");
        endpoint.call(&path, &HeaderMap::new(), &Bytes::from_static(b"\0\0\0\0\x02hi").into()).await
    }
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

/// Reads and writes the connection for as long as it lives, taking no calls.
fn serve_on(mut connection: Connection) {
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_out_as_it_is_and_its_answer_comes_back_with_its_trailers() {
    let (kept, listening) = kept();
    let mut connection = listening.accept(100).await;
    connected(&kept).await;
    let calling = tokio::spawn(call(&kept));
    let (request, respond) = next(&mut connection).await;
    assert_eq!(request.uri(), "http://127.0.0.1:8001/s/M");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    answer(respond, b"\0\0\0\0\x03yes");
    serve_on(connection);
    let reply = calling.await.unwrap().unwrap();
    assert_eq!(reply.message.unwrap(), "yes");
    assert_eq!(reply.trailers["grpc-status"], "0");
    assert_eq!(kept.endpoint().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_refused_and_one_above_the_last_never_ran_and_one_that_was_cut_may_have() {
    let (kept, listening) = kept();
    let mut connection = listening.accept(100).await;
    connected(&kept).await;

    let calling = tokio::spawn(call(&kept));
    let (_, mut respond) = next(&mut connection).await;
    respond.send_reset(Reason::REFUSED_STREAM);
    let ended = tokio::select! { ended = calling => ended.unwrap(), _ = connection.accept() => unreachable!() };
    assert_eq!(ended.unwrap_err().ran, Ran::Never);

    let cut = tokio::spawn(call(&kept));
    let (_request, _respond) = next(&mut connection).await;
    drop(connection);
    let failed = cut.await.unwrap().unwrap_err();
    assert_eq!((failed.error.kind(), failed.ran), (Kind::BackendLost, Ran::Maybe));
}

#[tokio::test(start_paused = true)]
async fn a_backend_on_its_way_out_finishes_what_it_took_and_what_comes_later_goes_over_another_connection() {
    let (kept, listening) = kept();
    let mut first = listening.accept(100).await;
    connected(&kept).await;
    let taken = tokio::spawn(call(&kept));
    let (_, respond) = next(&mut first).await;
    first.graceful_shutdown();
    serve_on(first);
    let (later, mut second) = tokio::join!(
        async {
            // The first call that finds the connection closed has it replaced; nothing of it was sent.
            loop {
                match call(&kept).await {
                    Err(failed) => {
                        assert_eq!(failed.ran, Ran::Never);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Ok(reply) => break reply,
                }
            }
        },
        async {
            let mut second = listening.accept(100).await;
            let (_, respond) = next(&mut second).await;
            answer(respond, b"\0\0\0\0\x01b");
            let _ = timeout(Duration::from_millis(1), second.accept()).await;
            second
        },
    );
    assert_eq!(later.message.unwrap(), "b");
    answer(respond, b"\0\0\0\0\x01a");
    assert_eq!(taken.await.unwrap().unwrap().message.unwrap(), "a");
    let _ = timeout(Duration::from_millis(1), second.accept()).await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_backend_is_suspected_and_then_given_up_with_its_calls() {
    let (kept, listening) = kept();
    let connection = listening.accept(100).await;
    connected(&kept).await;
    let began = Instant::now();
    let calling = tokio::spawn(call(&kept));
    // Nobody reads or writes the connection from here on, and yet it stays open.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!kept.endpoint().is_reachable(), "after 250 ms of silence and 200 ms without a pong");
    let failed = timeout(Duration::from_secs(5), calling).await.unwrap().unwrap().unwrap_err();
    assert_eq!((failed.error.kind(), failed.ran), (Kind::BackendLost, Ran::Maybe));
    assert!(began.elapsed() < Duration::from_millis(1100), "{:?}", began.elapsed());
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_is_asked_sooner_whether_it_lives_where_it_may_be_asked_at_any_time() {
    for (takes_pings, expected) in [(true, 2 * 250 + 200), (false, 3 * 1000 + 200)] {
        let (kept, listening) = kept();
        kept.endpoint().set_takes_pings(takes_pings);
        let mut connection = listening.accept(100).await;
        connected(&kept).await;
        let calling = tokio::spawn(call(&kept));
        let (_, respond) = next(&mut connection).await;
        let _ = timeout(Duration::from_secs(1), connection.accept()).await;
        answer(respond, b"\0\0\0\0\x04slow");
        let _ = timeout(Duration::from_millis(1), connection.accept()).await;
        calling.await.unwrap().unwrap();
        let (began, waiting) = (Instant::now(), tokio::spawn(call(&kept)));
        kept.endpoint().suspected().await;
        let took = began.elapsed().as_millis();
        assert!((expected..expected + 20).contains(&took), "{took} ms for {expected}");
        waiting.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_that_answers_pings_is_waited_for() {
    let (kept, listening) = kept();
    let mut connection = listening.accept(100).await;
    connected(&kept).await;
    let calling = tokio::spawn(call(&kept));
    let (_, respond) = next(&mut connection).await;
    serve_on(connection);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(kept.endpoint().is_reachable());
    answer(respond, b"\0\0\0\0\x04slow");
    assert_eq!(calling.await.unwrap().unwrap().message.unwrap(), "slow");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_reachable_as_long_as_one_of_its_connections_is_open() {
    let (kept, listening) = kept();
    assert!(!kept.endpoint().is_reachable());
    let mut first = listening.accept(1).await;
    connected(&kept).await;
    assert!(kept.endpoint().is_reachable());
    let one = tokio::spawn(call(&kept));
    let (_, respond) = next(&mut first).await;
    // The backend's settings have come with its first answer to anything.
    let _ = timeout(Duration::from_millis(300), first.accept()).await;
    // It finds the one stream taken, and waits for it.
    let two = tokio::spawn(call(&kept));
    let mut second = listening.accept(1).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let three = tokio::spawn(call(&kept));
    let (_, other) = next(&mut second).await;
    drop((first, respond));
    one.await.unwrap().unwrap_err();
    two.abort();
    assert!(kept.endpoint().is_reachable(), "the second is open");
    drop((second, other));
    three.await.unwrap().unwrap_err();
    assert!(!kept.endpoint().is_reachable());
    let _third = listening.accept(1).await;
    connected(&kept).await;
    assert!(kept.endpoint().is_reachable());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_no_longer_kept_finishes_its_calls_and_is_not_reachable() {
    let (kept, listening) = kept();
    let mut connection = listening.accept(100).await;
    connected(&kept).await;
    let calling = tokio::spawn(call(&kept));
    let (_, respond) = next(&mut connection).await;
    serve_on(connection);
    let endpoint = kept.endpoint().clone();
    drop(kept);
    assert!(!endpoint.is_reachable());
    answer(respond, b"\0\0\0\0\x04last");
    assert_eq!(calling.await.unwrap().unwrap().message.unwrap(), "last");
    assert!(!endpoint.is_reachable());
}

#[tokio::test(start_paused = true)]
async fn another_connection_is_opened_where_the_streams_of_one_run_out() {
    let (kept, listening) = kept();
    let mut first = listening.accept(1).await;
    connected(&kept).await;
    let one = tokio::spawn(call(&kept));
    let (_, respond) = next(&mut first).await;
    serve_on(first);
    // The backend's settings have come with its first answer to anything.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let two = tokio::spawn(call(&kept));
    let mut second = listening.accept(1).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let three = tokio::spawn(call(&kept));
    let (_, third) = next(&mut second).await;
    answer(third, b"\0\0\0\0\x013");
    serve_on(second);
    assert_eq!(three.await.unwrap().unwrap().message.unwrap(), "3");
    assert!(!one.is_finished());
    answer(respond, b"\0\0\0\0\x011");
    one.await.unwrap().unwrap();
    two.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_dialled_again_and_calls_meanwhile_are_told_why_they_have_nowhere_to_go() {
    let (kept, listening) = kept();
    let first = listening.accept(100).await;
    connected(&kept).await;
    drop(first);
    kept.endpoint().connectivity().wait_for(|now| matches!(now, Connectivity::Lost(_))).await.unwrap();
    let failed = call(&kept).await.unwrap_err();
    assert_eq!((failed.error.kind(), failed.ran), (Kind::NoBackend, Ran::Never));
    assert!(failed.error.message().starts_with("backend 127.0.0.1:8001 is not connected: "), "{}", failed.error);
    let _second = listening.accept(100).await;
    connected(&kept).await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_cannot_be_dialled_is_told_of_and_tried_again() {
    let dial = Dial::through(|_| std::future::ready(Err::<DuplexStream, _>(io::Error::other("no route"))));
    let backend = Backend::at(([127, 0, 0, 1], 8001).into());
    let kept = Kept::start(&backend, dial, Arc::new(rules()));
    let lost = Connectivity::Lost("no route".to_owned());
    kept.endpoint().connectivity().wait_for(|now| *now == lost).await.unwrap();
}
