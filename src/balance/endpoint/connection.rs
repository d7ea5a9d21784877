//! One HTTP/2 connection and its life: a task reads and writes it, and asks the backend whether it lives when answers
//! are owed and nothing comes. A slow model answers pings, a frozen process or a cut cable does not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};

use super::dial::{Destination, Io};
use super::exchange::Exchange;
use super::pings::Pings;
use super::{Endpoint, Rules};
use crate::balance::now;
use crate::tensor::Rope;
use crate::wire::gather::{Gathering, gather};

/// Frames that a backend may send, the same as ours take.
const MAX_FRAME: u32 = 1 << 20;
/// Lists of headers that a backend may send: ours are below 16 KiB, a status with its details may be longer.
const MAX_HEADERS: u32 = 64 << 10;
/// An answer may take so many times as long as the slowest of late before silence is suspicious.
const SLOWER: u32 = 3;
/// So many times the least silence are suspicious whatever answers take, where questions cost nothing.
const LONGEST: u32 = 2;
/// Of what is known of the slowest answer, this part is forgotten with each that was faster.
const FORGET: u64 = 64;

/// A connection. Its calls hold it; once the last handle is dropped it is closed.
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    shared: Arc<Shared>,
    driver: JoinHandle<()>,
}

/// Calls do not begin on it yet.
const NEW: u8 = 0;
/// Calls can begin on it.
const OPEN: u8 = 1;
/// Calls begin on it no more.
const SHUT: u8 = 2;

/// How a connection ended.
#[derive(Debug)]
pub(super) struct End {
    /// Why.
    pub(super) why: String,
    /// Whether the backend closed it as one does that is well: then another may come up at once.
    pub(super) is_clean: bool,
}

const CLOSED: &str = "the backend closed the connection";

/// What a connection's task and its calls share.
struct Shared {
    /// One of [`NEW`], [`OPEN`] and [`SHUT`], from one to the next.
    state: AtomicU8,
    in_flight: AtomicUsize,
    /// Calls that the backend takes at one time, as far as is known.
    streams: AtomicUsize,
    /// Calls that were answered.
    answers: AtomicU64,
    /// A call began while there was none.
    busy: Notify,
    pulse: Pulse,
    vitals: Arc<Vitals>,
}

impl Connection {
    /// Dials `to`, until the backend has given a sign of life. How it ends is told to `ended`, once.
    pub(super) async fn dial(
        to: &Destination,
        endpoint: &Endpoint,
        ended: impl FnOnce(End) + Send + 'static,
    ) -> Result<Connection, String> {
        let rules = endpoint.rules.clone();
        let dialled = timeout(rules.connect_timeout, async {
            let pulse = Pulse::new();
            let (stream, turns) = gather(Heard { inner: to.connect().await?, pulse: pulse.clone() });
            let (stream_window, window) = rules.windows;
            let mut builder = client::Builder::new();
            builder
                .enable_push(false)
                .initial_window_size(stream_window)
                .initial_connection_window_size(window)
                .max_frame_size(MAX_FRAME)
                .max_header_list_size(MAX_HEADERS);
            let shaken = turns.of(async {
                let (requests, mut connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
                // A kernel accepts connections also for a process that is frozen; only its SETTINGS say that it is there.
                heard(&mut connection, &pulse).await?;
                Ok::<_, io::Error>((requests, connection))
            });
            let (requests, connection) = shaken.await?;
            Ok::<_, io::Error>((requests, connection, turns, pulse))
        });
        let (requests, connection, turns, pulse) = match dialled.await {
            Ok(Ok(dialled)) => dialled,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no connection within {:?}", endpoint.rules.connect_timeout)),
        };
        let shared = Arc::new(Shared {
            state: AtomicU8::new(NEW),
            in_flight: AtomicUsize::new(0),
            streams: AtomicUsize::new(usize::MAX),
            answers: AtomicU64::new(0),
            busy: Notify::new(),
            pulse,
            vitals: endpoint.vitals.clone(),
        });
        let driven = Driven { shared: shared.clone(), requests: requests.clone(), rules: endpoint.rules.clone() };
        let driver = tokio::spawn(async move { ended(turns.of(driven.drive(connection)).await) });
        Ok(Connection { requests, shared, driver })
    }

    /// Takes calls from now on, unless it has ended meanwhile. Whoever looks for a connection must find it already.
    pub(super) fn open(&self) {
        self.shared.open();
    }

    /// Whether calls can begin on it.
    pub(super) fn is_open(&self) -> bool {
        self.shared.state.load(Relaxed) == OPEN
    }

    /// Takes no more calls.
    pub(super) fn close(&self) {
        self.shared.close();
    }

    /// Calls on it.
    pub(super) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Relaxed)
    }

    /// Whether one more call would wait for another to end.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight() >= self.shared.streams.load(Relaxed)
    }

    /// Sends a call.
    ///
    /// # Errors
    /// Where the connection takes none any more. Nothing was sent then.
    pub(super) fn begin(self: &Arc<Self>, request: Request<()>, message: &Rope) -> Result<Exchange, h2::Error> {
        let owed = Owed::begin(self.clone());
        let (response, mut stream) = self.requests.clone().send_request(request, false)?;
        let last = message.parts().len().saturating_sub(1);
        for (number, part) in message.parts().iter().enumerate() {
            // What flow control holds back lies in h2 as a handle to the bytes, which are in memory anyway.
            stream.send_data(part.clone(), number == last)?;
        }
        Ok(Exchange::new(response, stream, owed))
    }
}

/// Reads and writes until the first byte has come.
async fn heard(connection: &mut client::Connection<Gathering<Heard>, Bytes>, pulse: &Pulse) -> io::Result<()> {
    let mut connection = Pin::new(connection);
    std::future::poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(io::Error::other(CLOSED))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
        Poll::Pending if pulse.has_beaten() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await
}

impl Shared {
    fn open(&self) {
        if self.state.compare_exchange(NEW, OPEN, Relaxed, Relaxed).is_ok() {
            // Whoever sees the number finds the connection.
            self.vitals.open.fetch_add(1, Release);
        }
    }

    fn close(&self) {
        if self.state.swap(SHUT, Relaxed) == OPEN {
            self.vitals.open.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.close();
        self.driver.abort();
    }
}

/// A call that is owed its answer.
pub(super) struct Owed {
    connection: Arc<Connection>,
    since: Instant,
}

impl Owed {
    fn begin(connection: Arc<Connection>) -> Owed {
        let since = now();
        let shared = &connection.shared;
        if shared.in_flight.fetch_add(1, Relaxed) == 0 {
            shared.pulse.beat(since);
            shared.busy.notify_one();
        }
        Owed { connection, since }
    }

    /// Since when.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// The answer has come.
    pub(super) fn settled(&self) {
        self.connection.shared.answers.fetch_add(1, Relaxed);
        self.connection.shared.vitals.answered_in(now().saturating_duration_since(self.since));
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.connection.shared.in_flight.fetch_sub(1, Relaxed);
    }
}

/// When a connection was last heard of, or last had nothing to wait for: nanoseconds since its beginning and one, or zero
/// before the first time.
#[derive(Clone)]
struct Pulse(Arc<(Instant, AtomicU64)>);

impl Pulse {
    fn new() -> Pulse {
        Pulse(Arc::new((now(), AtomicU64::new(0))))
    }

    fn beat(&self, now: Instant) {
        let since = now.saturating_duration_since(self.0.0).as_nanos() as u64;
        self.0.1.fetch_max(since + 1, Relaxed);
    }

    fn has_beaten(&self) -> bool {
        self.0.1.load(Relaxed) > 0
    }

    fn last(&self) -> Instant {
        self.0.0 + Duration::from_nanos(self.0.1.load(Relaxed).saturating_sub(1))
    }
}

/// What is known of an endpoint's life over all its connections.
#[derive(Default)]
pub(super) struct Vitals {
    /// Nanoseconds that the slowest of the latest answers took.
    slowest: AtomicU64,
    /// Its connections that calls can begin on.
    open: AtomicUsize,
    /// Connections whose ping has gone unanswered for suspiciously long.
    suspected: AtomicUsize,
    /// One more is.
    suspicion: Notify,
    /// Whether it takes as many pings as it gets.
    takes_pings: AtomicBool,
}

impl Vitals {
    /// Whether calls can begin, on a connection of which nothing is suspected. All that a pick asks of an endpoint, and it
    /// asks it of several for each call.
    #[inline]
    pub(super) fn is_well(&self) -> bool {
        self.open.load(Acquire) > 0 && !self.is_suspected()
    }

    /// Whether some connection of it seems dead.
    #[inline]
    pub(super) fn is_suspected(&self) -> bool {
        self.suspected.load(Relaxed) > 0
    }

    /// Waits until some connection of it seems dead.
    pub(super) async fn suspected(&self) {
        loop {
            // Made before the look, it tells also of what comes between.
            let suspicion = self.suspicion.notified();
            if self.is_suspected() {
                return;
            }
            suspicion.await;
        }
    }

    /// Notes whether the endpoint takes as many pings as it gets.
    pub(super) fn set_takes_pings(&self, takes: bool) {
        self.takes_pings.store(takes, Relaxed);
    }

    fn answered_in(&self, took: Duration) {
        let known = self.slowest.load(Relaxed);
        // Not one atomic exchange: that one of two answers at one time is forgotten does no harm.
        self.slowest.store((took.as_nanos() as u64).max(known - known / FORGET), Relaxed);
    }

    fn patience(&self, rules: &Rules) -> Duration {
        let slower = Duration::from_nanos(self.slowest.load(Relaxed)) * SLOWER;
        let longest = if self.takes_pings.load(Relaxed) { rules.silence * LONGEST } else { Duration::MAX };
        slower.min(longest).max(rules.silence)
    }
}

/// A connection as its task has it.
struct Driven {
    shared: Arc<Shared>,
    requests: SendRequest<Bytes>,
    rules: Arc<Rules>,
}

impl Driven {
    /// Reads and writes until it ends; says why it did.
    async fn drive(self, mut connection: client::Connection<Gathering<Heard>, Bytes>) -> End {
        let ping = connection.ping_pong().expect("it is taken once");
        let end = tokio::select! {
            ended = connection => match ended {
                Ok(()) => End { why: CLOSED.to_owned(), is_clean: true },
                Err(error) => End { why: error.to_string(), is_clean: false },
            },
            () = self.watch(ping) => {
                End { why: format!("no answer to a ping within {:?}", self.rules.ping_timeout), is_clean: false }
            }
        };
        self.shared.close();
        end
    }

    /// Ends when the backend seems dead.
    async fn watch(&self, mut ping: PingPong) {
        let mut suspicion = Suspicion { vitals: &self.shared.vitals, raised: false };
        let mut pings = Pings::default();
        loop {
            self.shared.streams.store(self.requests.current_max_send_streams(), Relaxed);
            if self.shared.in_flight.load(Relaxed) == 0 {
                self.shared.busy.notified().await;
                continue;
            }
            let (now, patience) = (now(), self.shared.vitals.patience(&self.rules));
            let answers = self.shared.answers.load(Relaxed);
            let takes_pings = self.shared.vitals.takes_pings.load(Relaxed);
            let due = pings.due(answers, takes_pings).max(Some(self.shared.pulse.last() + patience));
            if let Some(due) = due.filter(|due| now < *due) {
                // An answer, or what else is learned meanwhile, may bring it forward.
                sleep_until(due.min(now + patience).into()).await;
                continue;
            }
            pings.sent(answers, now);
            if ping.send_ping(Ping::opaque()).is_err() {
                // The connection is at its end, which its own task tells.
                return std::future::pending().await;
            }
            if !self.is_answered(&mut ping, &mut suspicion).await {
                return;
            }
        }
    }

    /// Whether the backend shows a sign of life after a ping.
    async fn is_answered(&self, ping: &mut PingPong, suspicion: &mut Suspicion<'_>) -> bool {
        let mut asked = now();
        loop {
            let patience = self.rules.ping_timeout / if suspicion.raised { 1 } else { 3 };
            tokio::select! {
                Ok(_) = std::future::poll_fn(|cx| ping.poll_pong(cx)) => {
                    suspicion.lower();
                    return true;
                }
                () = sleep_until((asked + patience).into()) => {}
            }
            if self.shared.pulse.last() > asked {
                // Bytes came, only the pong is still behind them.
                suspicion.lower();
                asked = now();
            } else if suspicion.raised {
                return false;
            } else {
                suspicion.raise();
            }
        }
    }
}

/// A doubt that is taken back when it is dropped.
struct Suspicion<'a> {
    vitals: &'a Vitals,
    raised: bool,
}

impl Suspicion<'_> {
    fn raise(&mut self) {
        if !std::mem::replace(&mut self.raised, true) {
            self.vitals.suspected.fetch_add(1, Relaxed);
            self.vitals.suspicion.notify_waiters();
        }
    }

    fn lower(&mut self) {
        if std::mem::take(&mut self.raised) {
            self.vitals.suspected.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Suspicion<'_> {
    fn drop(&mut self) {
        self.lower();
    }
}

/// A stream that notes when bytes come.
struct Heard {
    inner: Box<dyn Io>,
    pulse: Pulse,
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.pulse.beat(now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
