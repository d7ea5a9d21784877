//! Keeps an endpoint connected: dials, dials again, and opens another connection where calls find all streams taken.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::connection::{Connection, End};
use super::dial::Destination;
use super::redial;
use super::{Connectivity, Endpoint};
use crate::balance::now;

/// Keeps `endpoint` connected for as long as it is polled.
pub(super) async fn keep(endpoint: Arc<Endpoint>, to: Destination) {
    let mut backoff = redial::backoff();
    // Each of the few connections ends once.
    let (ended, mut ends) = mpsc::channel::<End>(endpoint.rules.connections.max(1));
    loop {
        let tell = ended.clone();
        let dialled = Connection::dial(&to, &endpoint, move |end| _ = tell.try_send(end)).await;
        let why = match dialled {
            Ok(connection) => {
                endpoint.put(connection);
                endpoint.tell(Connectivity::Connected);
                let since = now();
                match endpoint.until_wanting(&mut ends).await {
                    Next::More => {
                        if !endpoint.has_open() {
                            endpoint.tell(Connectivity::Renewing);
                        }
                        continue;
                    }
                    Next::Lost(end) if redial::is_lasting(now().saturating_duration_since(since)) => {
                        backoff.reset();
                        // Backends end connections that are old, and restart: the next may stand before anybody notices.
                        endpoint.tell(if end.is_clean { Connectivity::Renewing } else { Connectivity::Lost(end.why) });
                        continue;
                    }
                    Next::Lost(end) => end.why,
                }
            }
            // Others may still be open: then this was one more than the backend takes, or a moment's failure.
            Err(why) => why,
        };
        if !endpoint.has_open() {
            endpoint.tell(Connectivity::Lost(why));
        }
        sleep(backoff.wait()).await;
    }
}

/// Why another connection is dialled.
enum Next {
    /// Calls want more streams, or another connection in place of one that is on its way out.
    More,
    /// None is open any more.
    Lost(End),
}

impl Endpoint {
    fn put(&self, connection: Connection) {
        let mut connections: Vec<_> = self.connections.load().iter().filter(|known| known.is_open()).cloned().collect();
        let connection = Arc::new(connection);
        connections.push(connection.clone());
        self.connections.store(Arc::new(connections));
        connection.open();
    }

    /// Lets go of connections that have ended.
    fn sweep(&self) {
        let open = self.connections.load().iter().filter(|known| known.is_open()).cloned().collect();
        self.connections.store(Arc::new(open));
    }

    pub(super) fn has_open(&self) -> bool {
        self.connections.load().iter().any(|connection| connection.is_open())
    }

    fn tell(&self, connectivity: Connectivity) {
        self.connectivity.send_if_modified(|known| {
            let is_new = *known != connectivity;
            *known = connectivity;
            if is_new {
                *self.changed.lock().expect("nothing panics while it holds a time") = now();
            }
            is_new
        });
    }

    async fn until_wanting(&self, ends: &mut mpsc::Receiver<End>) -> Next {
        loop {
            tokio::select! {
                Some(end) = ends.recv() => {
                    self.sweep();
                    if !self.has_open() {
                        return Next::Lost(end);
                    }
                }
                () = self.wanting.notified() => {
                    self.sweep();
                    if self.connections.load().len() < self.rules.connections {
                        return Next::More;
                    }
                }
            }
        }
    }
}
