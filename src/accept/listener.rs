//! The calls' port: accepts connections within limits, and lets them go gently when the process stops.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection;
use super::front::Front;
use super::phase::{Phase, PhaseWatch};
use super::tls::Tls;
use crate::config::Http2;
use crate::infer::Infer;

/// How long accepting rests when the process has no file descriptors left: calls that end free some.
const NO_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(50);

/// What a listener allows.
#[derive(Debug, Clone)]
pub struct ListenerRules {
    /// HTTP/2 and its times.
    pub http2: Http2,
    /// Connections at one time.
    pub connections: usize,
    /// Connections from one address at one time.
    pub connections_per_ip: usize,
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Tls>,
    rules: Arc<ListenerRules>,
    open: Arc<Open>,
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>, rules: ListenerRules) -> io::Result<Listener> {
        let tcp = TcpListener::bind(address).await?;
        let connections = rules.connections.min(half_of_the_descriptors());
        let rules = Arc::new(ListenerRules { connections, ..rules });
        Ok(Listener { tcp, tls, open: Arc::default(), rules })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until the process leaves and every connection is gone or cut.
    pub async fn serve<S: Infer>(self, front: Arc<Front<S>>, mut phase: PhaseWatch) {
        let mut connections = JoinSet::new();
        let mut leaving = phase.clone();
        loop {
            tokio::select! {
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, peer)) => self.take(stream, peer, &front, &phase, &mut connections),
                    Err(error) => refused_by_the_system(error).await,
                },
                Some(_) = connections.join_next() => {}
                () = leaving.reached(Phase::Leaving) => break,
            }
        }
        drop(self.tcp);
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            () = phase.reached(Phase::Cut) => connections.shutdown().await,
        }
    }

    fn take<S: Infer>(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        front: &Arc<Front<S>>,
        phase: &PhaseWatch,
        connections: &mut JoinSet<()>,
    ) {
        // Over a limit the connection is closed at once: the cheapest answer there is.
        let Some(place) = self.open.enter(address.ip(), &self.rules) else {
            tracing::debug!(peer = %address.ip(), "too many connections, one is closed at once");
            return;
        };
        let (tls, rules) = (self.tls.clone(), self.rules.clone());
        let (front, phase, peer) = (front.clone(), phase.clone(), front.peer(address));
        connections.spawn(async move {
            let _place = place;
            // Tensors are written as soon as they are there; a failure to say so costs time only.
            let _ = stream.set_nodelay(true);
            match tls {
                None => connection::serve(stream, front, peer, &rules.http2, phase).await,
                Some(tls) => {
                    let handshake = tls.acceptor().accept(stream);
                    if let Some(stream) = connection::in_time(handshake, &rules.http2, phase.clone()).await {
                        connection::serve(stream, front, peer, &rules.http2, phase).await;
                    }
                }
            }
        });
    }
}

async fn refused_by_the_system(error: io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    sleep(NO_DESCRIPTORS_PAUSE).await;
}

/// Connections may take half of the descriptors; the rest is for models, files and backends.
fn half_of_the_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| (limit / 2) as usize).max(1)
}

/// Connections that are open.
#[derive(Debug, Default)]
struct Open(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// The place of one connection, given back on drop.
struct Place {
    open: Arc<Open>,
    peer: IpAddr,
}

impl Open {
    fn enter(self: &Arc<Self>, peer: IpAddr, rules: &ListenerRules) -> Option<Place> {
        let mut counts = self.counts();
        let from_peer = counts.by_ip.get(&peer).copied().unwrap_or(0);
        if counts.total >= rules.connections || from_peer >= rules.connections_per_ip {
            return None;
        }
        counts.total += 1;
        counts.by_ip.insert(peer, from_peer + 1);
        Some(Place { open: self.clone(), peer })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("nothing panics while connections are counted")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.open.counts();
        counts.total -= 1;
        match counts.by_ip.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = counts.by_ip.remove(&self.peer),
        }
    }
}
