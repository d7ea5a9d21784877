//! Connections: what they are told they may do, how they end, and what happens to those that do something else.

use bytes::Bytes;
use infergate::config::{Config, Http2};

use crate::harness::{END_STREAM, Frame, Gate, INFER, Model, Serving, Wire, echo, framed, kind};

/// HTTP/2's error codes (RFC 9113, 7).
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The highest stream that there may be: a GOAWAY that names it refuses none yet.
const ALL_STREAMS: u32 = (1 << 31) - 1;

fn http2(configure: impl FnOnce(&mut Http2)) -> impl FnOnce(&mut Config) {
    |config| configure(&mut config.http2)
}

/// A call with its message.
fn call(stream: u32, value: f32) -> [Frame; 2] {
    [Frame::call(stream, INFER), Frame::new(kind::DATA, END_STREAM, stream, framed(&echo(&[value])))]
}

fn is(wanted: u8) -> impl Fn(&Frame) -> bool {
    move |frame| frame.kind == wanted
}

/// Reads to the end of a stream, and returns the bytes of its DATA frames: none where it was refused.
async fn answered(wire: &mut Wire, stream: u32) -> usize {
    let mut bytes = 0;
    loop {
        let frame = wire.until(|frame| frame.stream == stream).await;
        if frame.kind == kind::DATA {
            bytes += frame.payload.len();
        }
        if frame.ends(stream) {
            return bytes;
        }
    }
}

/// The last stream that a GOAWAY names, and why.
fn parting(frame: &Frame) -> (u32, u32) {
    (frame.number(0), frame.number(4))
}

#[tokio::test]
async fn the_first_frames_tell_every_limit_as_configured() {
    let serving = Serving::with(
        [Model::echo()],
        http2(|http2| {
            http2.max_concurrent_streams = 17;
            http2.stream_window = "300KiB".parse().unwrap();
            http2.connection_window = "700KiB".parse().unwrap();
            http2.max_frame_size = "33KiB".parse().unwrap();
            http2.max_header_list = "5KiB".parse().unwrap();
        }),
    )
    .await;
    let mut wire = Wire::open(serving.grpc()).await;
    let settings = wire.next().await.unwrap();
    assert_eq!((settings.kind, settings.flags), (kind::SETTINGS, 0));
    let told = |wanted: u16| {
        let mut entries = settings.payload.chunks_exact(6);
        let entry = entries.find(|entry| u16::from_be_bytes([entry[0], entry[1]]) == wanted);
        entry.map(|entry| u32::from_be_bytes(entry[2..].try_into().unwrap()))
    };
    assert_eq!(told(3), Some(17), "SETTINGS_MAX_CONCURRENT_STREAMS");
    assert_eq!(told(4), Some(300 << 10), "SETTINGS_INITIAL_WINDOW_SIZE");
    assert_eq!(told(5), Some(33 << 10), "SETTINGS_MAX_FRAME_SIZE");
    assert_eq!(told(6), Some(5 << 10), "SETTINGS_MAX_HEADER_LIST_SIZE");
    // The connection's window begins at 65535 bytes and is grown by a frame of its own.
    let update = wire.until(is(kind::WINDOW_UPDATE)).await;
    assert_eq!((update.stream, update.number(0)), (0, (700 << 10) - 65_535));
    serving.finish().await;
}

#[tokio::test]
async fn streams_over_the_limit_are_refused_and_those_within_are_answered() {
    let mut gate = Gate::closed();
    let model = Model::echo().behind(&gate);
    let serving = Serving::with([model], http2(|http2| http2.max_concurrent_streams = 2)).await;
    let mut wire = Wire::open(serving.grpc()).await;
    wire.put(&[call(1, 1.0), call(3, 2.0)].concat()).await;
    gate.next_two().await;
    wire.put(&call(5, 3.0)).await;
    let refused = wire.until(is(kind::RST_STREAM)).await;
    assert_eq!((refused.stream, refused.number(0)), (5, REFUSED_STREAM));
    gate.let_one_pass();
    gate.let_one_pass();
    let mut ends =
        [wire.until(|frame| frame.ends(frame.stream)).await, wire.until(|frame| frame.ends(frame.stream)).await]
            .map(|frame| frame.stream);
    ends.sort();
    assert_eq!(ends, [1, 3]);
    serving.finish().await;
}

#[tokio::test]
async fn a_connection_that_is_old_is_asked_to_go_and_its_call_in_flight_finishes() {
    let mut gate = Gate::closed();
    let model = Model::echo().behind(&gate);
    let serving = Serving::with([model], http2(|http2| http2.max_connection_age = "300ms".parse().unwrap())).await;
    let mut wire = Wire::open(serving.grpc()).await;
    wire.put(&call(1, 1.0)).await;
    gate.next().await;
    assert_eq!(parting(&wire.until(is(kind::GOAWAY)).await), (ALL_STREAMS, NO_ERROR));
    // One round trip later, when the peer has seen that, the last stream is named.
    assert_eq!(parting(&wire.until(is(kind::GOAWAY)).await), (1, NO_ERROR));
    gate.open();
    assert!(answered(&mut wire, 1).await > 0);
    assert_eq!(wire.rest().await, []);
    assert_eq!(serving.finish().await.answered, 1);
}

#[tokio::test]
async fn an_idle_connection_is_asked_to_go_and_a_busy_one_is_not() {
    let mut gate = Gate::closed();
    let model = Model::echo().behind(&gate);
    let serving = Serving::with([model], http2(|http2| http2.idle_timeout = "100ms".parse().unwrap())).await;
    let mut busy = Wire::open(serving.grpc()).await;
    busy.put(&call(1, 1.0)).await;
    gate.next().await;
    // Opened later, the idle ones are asked to go later; the busy one would have been before.
    for _ in 0..2 {
        let mut idle = Wire::open(serving.grpc()).await;
        assert_eq!(parting(&idle.until(is(kind::GOAWAY)).await), (ALL_STREAMS, NO_ERROR));
        assert!(idle.rest().await.iter().all(|frame| matches!(frame.kind, kind::PING | kind::GOAWAY)));
    }
    gate.open();
    let frame = busy.until(|frame| matches!(frame.kind, kind::DATA | kind::GOAWAY)).await;
    assert_eq!(frame.kind, kind::DATA);
    // Once its call has ended it is idle, too.
    assert_eq!(parting(&busy.until(is(kind::GOAWAY)).await).1, NO_ERROR);
    serving.finish().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_not_enough_is_closed_in_time() {
    let serving =
        Serving::with([Model::echo()], http2(|http2| http2.handshake_timeout = "300ms".parse().unwrap())).await;
    let said_to = |hello: &'static str| {
        let address = serving.grpc();
        async move {
            let mut wire = Wire::silent(address).await;
            wire.say(hello.as_bytes()).await;
            wire.rest_as_bytes().await
        }
    };
    let all = ["", "PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"].map(said_to);
    assert_eq!(futures_util::future::join_all(all).await, [b""; 3]);
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_cut_off_and_one_that_does_is_not() {
    let serving = Serving::with(
        [Model::echo()],
        http2(|http2| {
            http2.keepalive_interval = "50ms".parse().unwrap();
            http2.keepalive_timeout = "500ms".parse().unwrap();
        }),
    )
    .await;
    let mut dead = Wire::open(serving.grpc()).await;
    dead.acknowledges = false;
    assert!(dead.rest().await.iter().any(is(kind::PING)));
    let mut alive = Wire::open(serving.grpc()).await;
    for _ in 0..5 {
        alive.until(is(kind::PING)).await;
    }
    alive.put(&call(1, 1.0)).await;
    assert!(answered(&mut alive, 1).await > 0);
    serving.finish().await;
}

/// Sends frames that no honest peer sends, and expects that the connection ends and that nobody else notices.
async fn is_calmed(frames: &[Frame]) {
    let serving = Serving::of([Model::echo()]).await;
    let mut wire = Wire::open(serving.grpc()).await;
    wire.put(frames).await;
    let said = wire.rest().await;
    let parting = said.iter().find(|frame| frame.kind == kind::GOAWAY).map(parting);
    assert_eq!(parting.expect("the peer is told why").1, ENHANCE_YOUR_CALM);
    serving.answers_as_ever().await;
    serving.finish().await;
}

#[tokio::test]
async fn calls_that_are_reset_as_fast_as_they_are_begun_end_the_connection() {
    let reset = |stream| Frame::new(kind::RST_STREAM, 0, stream, CANCEL.to_be_bytes().to_vec());
    let frames: Vec<Frame> =
        (0..1000).map(|index| 2 * index + 1).flat_map(|stream| [Frame::call(stream, INFER), reset(stream)]).collect();
    is_calmed(&frames).await;
}

#[tokio::test]
async fn streams_that_we_are_made_to_reset_end_the_connection() {
    // More window than there can be is an error of the stream, so that the server resets it.
    let overflow = |stream| Frame::new(kind::WINDOW_UPDATE, 0, stream, ALL_STREAMS.to_be_bytes().to_vec());
    let frames: Vec<Frame> = (0..1000)
        .map(|index| 2 * index + 1)
        .flat_map(|stream| [Frame::call(stream, INFER), overflow(stream)])
        .collect();
    is_calmed(&frames).await;
}

#[tokio::test]
async fn a_flood_of_empty_frames_ends_the_connection() {
    let mut frames = vec![Frame::call(1, INFER)];
    frames.extend((0..5000).map(|_| Frame::new(kind::DATA, 0, 1, Bytes::new())));
    is_calmed(&frames).await;
}
