//! One HTTP/2 connection: a task reads and writes it, and asks the backend whether it lives when answers are owed and
//! nothing comes. A slow model answers pings, a frozen process or a cut cable does not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::Request;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::dial::Destination;
use super::exchange::Exchange;
use super::life::Life;
use super::pulse::{Heard, Pulse};
use super::{Endpoint, Rules};
use crate::balance::now;
use crate::tensor::Rope;
use crate::wire::gather::{Gathering, gather};

/// Frames that a backend may send, the same as ours take.
const MAX_FRAME: u32 = 1 << 20;
/// Lists of headers that a backend may send: ours are below 16 KiB, a status with its details may be longer.
const MAX_HEADERS: u32 = 64 << 10;

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
    /// Calls that the backend takes at one time, as far as is known.
    streams: AtomicUsize,
    life: Life,
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
            streams: AtomicUsize::new(usize::MAX),
            life: Life::new(pulse, endpoint.vitals.clone()),
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
        self.shared.life.in_flight()
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
            self.life.opened();
        }
    }

    fn close(&self) {
        if self.state.swap(SHUT, Relaxed) == OPEN {
            self.life.shut();
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
        connection.shared.life.begin(since);
        Owed { connection, since }
    }

    /// Since when.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// The answer has come.
    pub(super) fn settled(&self) {
        self.connection.shared.life.answered_in(now().saturating_duration_since(self.since));
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.connection.shared.life.end();
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
        let look = || self.shared.streams.store(self.requests.current_max_send_streams(), Relaxed);
        let end = tokio::select! {
            ended = connection => match ended {
                Ok(()) => End { why: CLOSED.to_owned(), is_clean: true },
                Err(error) => End { why: error.to_string(), is_clean: false },
            },
            () = self.shared.life.watch(ping, &self.rules, look) => {
                End { why: format!("no answer to a ping within {:?}", self.rules.ping_timeout), is_clean: false }
            }
        };
        self.shared.close();
        end
    }
}
