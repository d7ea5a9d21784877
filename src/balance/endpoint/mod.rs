//! One backend that is dialled: its connections, kept up, and calls over them. The only home of the HTTP/2 client.
//!
//! `dial` makes a connection, `connection` is one, `life` watches over it, `keeper` keeps as many of them as are needed,
//! `exchange` is one call over one, `ask` lets generated clients put questions that are no calls.

mod answer;
mod ask;
mod connection;
mod dial;
mod exchange;
mod keeper;
mod life;
mod pings;
mod pulse;
mod redial;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytestring::ByteString;
use http::HeaderMap;
use http::uri::{Authority, PathAndQuery, Scheme};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use answer::Reply;
pub use ask::Asking;
pub use dial::{Dial, Io, TlsFiles, over_tcp};

use super::now;
use super::retry::Ran;
use crate::discover::Backend;
use crate::error::{Error, Kind};
use crate::tensor::Rope;
use connection::Connection;
use exchange::Lost;
use life::Vitals;

/// How endpoints are dialled and watched.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long a connection may take to come up, TLS and HTTP/2 included.
    pub connect_timeout: Duration,
    /// The least time without a byte from a backend that owes answers until it is asked whether it lives. Where its
    /// answers take longer than that, three times as long as those; of one that may be asked at any time, twice this.
    pub silence: Duration,
    /// How long it may take to answer that; then its connection is given up with the calls on it.
    pub ping_timeout: Duration,
    /// Connections to one endpoint. More than one is opened only where the calls of one are all that the backend takes.
    pub connections: usize,
    /// Bytes that may be under way in one answer, and in all on one connection, before they are read.
    pub windows: (u32, u32),
    /// The largest answer.
    pub message_size: usize,
}

/// Whether calls can go to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connectivity {
    /// It is dialled for the first time.
    Dialling,
    /// There is a connection.
    Connected,
    /// The backend has ended it as one does that is well, and another is dialled in its place.
    Renewing,
    /// There is none, for this reason. It is dialled again.
    Lost(String),
}

/// A call that got no answer, and whether the backend may have begun to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What happened.
    pub error: Error,
    /// Whether it may have run.
    pub ran: Ran,
}

/// A backend that is dialled. Dropping it closes its connections.
pub struct Endpoint {
    address: SocketAddr,
    name: ByteString,
    zone: Option<ByteString>,
    authority: Authority,
    scheme: Scheme,
    rules: Arc<Rules>,
    connections: ArcSwap<Vec<Arc<Connection>>>,
    connectivity: watch::Sender<Connectivity>,
    /// When that changed last.
    changed: Mutex<Instant>,
    in_flight: AtomicUsize,
    vitals: Arc<Vitals>,
    /// Calls found every stream taken, or a connection on its way out.
    wanting: Notify,
}

/// An endpoint that is kept connected for as long as this is held.
pub struct Kept {
    endpoint: Arc<Endpoint>,
    keeper: JoinHandle<()>,
}

impl Kept {
    /// Dials `backend` and keeps it connected. Runs on the runtime that it is called in.
    pub fn start(backend: &Backend, dial: Dial, rules: Arc<Rules>) -> Kept {
        let endpoint = Arc::new(Endpoint::new(backend, dial.scheme(), rules));
        let keeper = tokio::spawn(keeper::keep(endpoint.clone(), dial.to(backend)));
        Kept { endpoint, keeper }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
        // Calls in flight hold their connections and finish.
        let connections = self.endpoint.connections.swap(Arc::default());
        connections.iter().for_each(|connection| connection.close());
        self.endpoint.connectivity.send_replace(Connectivity::Lost("no longer discovered".into()));
    }
}

impl Endpoint {
    fn new(backend: &Backend, scheme: Scheme, rules: Arc<Rules>) -> Endpoint {
        let address = backend.address.to_string();
        let host = backend.host.as_ref().map(|host| format!("{host}:{}", backend.address.port()));
        let plain = Authority::try_from(address).expect("a socket address is an authority");
        Endpoint {
            address: backend.address,
            name: backend.name.clone(),
            zone: backend.zone.clone(),
            authority: host.and_then(|host| Authority::try_from(host).ok()).unwrap_or(plain),
            scheme,
            rules,
            connections: ArcSwap::default(),
            connectivity: watch::Sender::new(Connectivity::Dialling),
            changed: Mutex::new(now()),
            in_flight: AtomicUsize::new(0),
            vitals: Arc::default(),
            wanting: Notify::new(),
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What people call it.
    pub fn name(&self) -> &ByteString {
        &self.name
    }

    /// The zone that it was in when it was found, where that is known.
    pub fn zone(&self) -> Option<&ByteString> {
        self.zone.as_ref()
    }

    /// Notes whether it takes as many pings as it gets, which servers other than ours punish; until that is known it does
    /// not.
    pub fn set_takes_pings(&self, takes: bool) {
        self.vitals.set_takes_pings(takes);
    }

    /// Calls on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Whether it can be called, and changes of that.
    pub fn connectivity(&self) -> watch::Receiver<Connectivity> {
        self.connectivity.subscribe()
    }

    /// Since when its connectivity is what it is.
    pub fn since(&self) -> Instant {
        *self.changed.lock().expect("nothing panics while it holds a time")
    }

    /// Whether a call would find a connection that answers as far as is known.
    pub fn is_reachable(&self) -> bool {
        self.vitals.is_well()
    }

    /// Waits until it seems dead, which is long before it is given up, and may prove wrong.
    pub fn suspected(&self) -> impl Future<Output = ()> + Send {
        self.vitals.suspected()
    }

    /// Calls `path` with `message` (framed for gRPC) and `headers`, to which those that HTTP/2 and gRPC ask for are
    /// added. Dropping the future cancels the call.
    ///
    /// # Errors
    /// What kept the answer from coming. A refusal by the backend is no error here but a [`Reply`].
    pub async fn call(&self, path: &PathAndQuery, headers: &HeaderMap, message: &Rope) -> Result<Reply, Failed> {
        let _counted = Counted::begin(&self.in_flight);
        let mut last = None;
        for _ in 0..self.rules.connections + 2 {
            let Some(connection) = self.connection() else {
                if !self.is_renewing() {
                    return Err(self.unreachable());
                }
                Box::pin(self.renewed()).await;
                continue;
            };
            let request = exchange::request(&self.authority, &self.scheme, path, headers);
            let lost = match connection.begin(request, message) {
                Ok(mut exchange) => match exchange.finish(self.rules.message_size).await {
                    Ok(reply) => return Ok(reply),
                    Err(lost) if lost.was_turned_away() => lost,
                    Err(lost) => return Err(lost.of(&self.name)),
                },
                Err(error) => Lost::never(&error),
            };
            // It is on its way out, and has not looked at the call. Another may be there already, or comes up.
            connection.close();
            self.wanting.notify_one();
            last = Some(lost);
        }
        Err(last.map_or_else(|| self.unreachable(), |lost| lost.of(&self.name)))
    }

    /// Whether there is no connection because the last one has ended well, and another is dialled.
    pub fn is_renewing(&self) -> bool {
        self.is_renewing_in(&self.connectivity.borrow())
    }

    fn is_renewing_in(&self, connectivity: &Connectivity) -> bool {
        matches!(connectivity, Connectivity::Connected | Connectivity::Renewing) && !self.has_open()
    }

    /// Waits until that is over, for as long as dialling may take.
    pub async fn renewed(&self) {
        let mut connectivity = self.connectivity();
        let is_over = connectivity.wait_for(|now| !self.is_renewing_in(now));
        let _ = timeout(self.rules.connect_timeout, is_over).await;
    }

    /// The open connection with the fewest calls. Where even that one is full another one is asked for.
    fn connection(&self) -> Option<Arc<Connection>> {
        let connections = self.connections.load();
        let open = connections.iter().filter(|connection| connection.is_open());
        let connection = open.min_by_key(|connection| connection.in_flight())?;
        if connection.is_full() {
            self.wanting.notify_one();
        }
        Some(connection.clone())
    }

    fn unreachable(&self) -> Failed {
        let why = match &*self.connectivity.borrow() {
            Connectivity::Lost(why) => why.clone(),
            _ => "it is being connected".to_owned(),
        };
        let message = format!("backend {} is not connected: {why}", self.name);
        Failed { error: Error::new(Kind::NoBackend, message), ran: Ran::Never }
    }
}

/// Counts a call for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn begin(count: &'a AtomicUsize) -> Counted<'a> {
        count.fetch_add(1, Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
