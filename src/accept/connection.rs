//! One connection: handshakes in time, HTTP/2 within explicit limits, and a gentle end when it is idle, old, or the
//! process stops.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, sleep_until, timeout};

use super::company::{Company, Intake};
use super::front::{Answered, Front, FrontBody};
use super::peer::Peer;
use super::phase::{Phase, PhaseWatch};
use super::preface;
use crate::config::Http2;
use crate::infer::Infer;
use crate::wire::gather::gather;

/// At most so many streams that were reset before they were accepted (rapid reset, CVE-2023-44487); h2's own default.
const MAX_PENDING_RESETS: usize = 20;

/// At most so many streams that a peer's errors made us reset (CVE-2025-8671).
const MAX_LOCAL_ERROR_RESETS: usize = 128;

/// Bytes of one answer that wait inside HTTP/2 for the peer's window. Parts of answers are shared, so that this bounds
/// what is marked for sending rather than what is copied.
const SEND_BUFFER: usize = 1024 * 1024;

/// After its GOAWAY for age, a connection's calls have this long before it is cut.
const AGE_GRACE: Duration = Duration::from_secs(600);

/// HTTP/2 as this server speaks it: every limit explicit. Its calls go to `intake`.
pub(super) fn http2(rules: &Http2, intake: Intake) -> http2::Builder<Intake> {
    let mut builder = http2::Builder::new(intake);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(rules.max_concurrent_streams)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_ERROR_RESETS)
        .initial_stream_window_size(rules.stream_window.saturating_u32())
        .initial_connection_window_size(rules.connection_window.saturating_u32())
        .max_frame_size(rules.max_frame_size.saturating_u32())
        .max_header_list_size(rules.max_header_list.saturating_u32())
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(rules.keepalive_interval.unless_zero())
        .keep_alive_timeout(rules.keepalive_timeout.get());
    builder
}

/// Serves a connection of `peer` to its end.
pub(super) async fn serve<T, S>(stream: T, front: Arc<Front<S>>, peer: Peer, rules: &Http2, phase: PhaseWatch)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Infer,
{
    let Some(stream) = in_time(preface::read(stream), rules, phase.clone()).await else { return };
    let (stream, turns) = gather(stream);
    let activity = Arc::new(Activity::new());
    turns.of(converse(stream, Answering { front, peer, activity }, rules, phase)).await;
}

async fn converse<T, S>(stream: T, service: Answering<S>, rules: &Http2, mut phase: PhaseWatch)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Infer,
{
    let activity = service.activity.clone();
    let intake = Intake::default();
    let connection = http2(rules, intake.clone()).serve_connection(TokioIo::new(stream), service);
    let mut company = pin!(Company::of(connection, intake));
    let mut leaving = phase.clone();
    let mut retire = pin!(async {
        tokio::select! {
            biased;
            () = leaving.reached(Phase::Leaving) => {}
            () = aged(rules.max_connection_age.unless_zero()) => {}
            () = activity.idle_for(rules.idle_timeout.unless_zero()) => {}
        }
    });
    tokio::select! {
        biased;
        // An error of the connection is its peer's; its calls were abandoned by then and say so themselves.
        _ = company.as_mut() => return,
        () = retire.as_mut() => company.as_mut().connection().graceful_shutdown(),
        () = phase.reached(Phase::Cut) => return,
    }
    tokio::select! {
        _ = company => {}
        () = phase.reached(Phase::Cut) => {}
        () = sleep(AGE_GRACE) => {}
    }
}

/// A handshake that was done in time, and before the process leaves: whoever has not said a word by then has no call.
pub(super) async fn in_time<T>(
    handshake: impl Future<Output = std::io::Result<T>>,
    rules: &Http2,
    mut phase: PhaseWatch,
) -> Option<T> {
    tokio::select! {
        done = timeout(rules.handshake_timeout.get(), handshake) => done.ok()?.ok(),
        () = phase.reached(Phase::Leaving) => None,
    }
}

/// Waits until a connection is `age` old, give or take a tenth, so that connections made together do not end together.
async fn aged(age: Option<Duration>) {
    match age {
        Some(age) => sleep(age.mul_f64(0.9 + 0.2 * fastrand::f64())).await,
        None => std::future::pending().await,
    }
}

/// What a connection's calls do, to tell when it is idle.
struct Activity {
    calls: AtomicUsize,
    /// Since when there is none; of no meaning while there is one.
    idle_since: Mutex<Instant>,
}

impl Activity {
    fn new() -> Self {
        Activity { calls: AtomicUsize::new(0), idle_since: Mutex::new(Instant::now()) }
    }

    fn begin(self: &Arc<Self>) -> Active {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Active(self.clone())
    }

    fn end(&self) {
        if self.calls.fetch_sub(1, Ordering::Relaxed) == 1 {
            *self.idle_since.lock().expect("nothing panics while a time is stored") = Instant::now();
        }
    }

    /// Waits until there was no call for `limit`.
    async fn idle_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            let calls = self.calls.load(Ordering::Relaxed);
            let since = *self.idle_since.lock().expect("nothing panics while a time is stored");
            if calls == 0 && since.elapsed() >= limit {
                return;
            }
            let next = if calls == 0 { since + limit } else { Instant::now() + limit };
            sleep_until(next.into()).await;
        }
    }
}

/// A call in flight on a connection.
struct Active(Arc<Activity>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Hyper's view of the front.
struct Answering<S> {
    front: Arc<Front<S>>,
    peer: Peer,
    activity: Arc<Activity>,
}

impl<S: Infer> hyper::service::Service<Request<Incoming>> for Answering<S> {
    type Response = Response<ActiveBody<S>>;
    type Error = Infallible;
    type Future = ActiveAnswer<S>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let active = self.activity.begin();
        ActiveAnswer { answered: self.front.answer(request, self.peer), active: Some(active) }
    }
}

/// An answer in the making that keeps its connection from being idle.
struct ActiveAnswer<S> {
    answered: Answered<S>,
    active: Option<Active>,
}

impl<S> Future for ActiveAnswer<S> {
    type Output = Result<Response<ActiveBody<S>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = std::task::ready!(Pin::new(&mut self.answered).poll(cx));
        let active = self.active.take();
        Poll::Ready(Ok(response.map(|body| ActiveBody { body, _active: active })))
    }
}

pin_project_lite::pin_project! {
    /// A body that keeps its connection from being idle.
    struct ActiveBody<S> {
        #[pin]
        body: FrontBody<S>,
        _active: Option<Active>,
    }
}

impl<S: Infer> Body for ActiveBody<S> {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
