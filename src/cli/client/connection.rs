//! One HTTP/2 connection for the same call again and again. It is dialled anew once it is lost, by the call that finds it
//! so.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{CONNECT, CONNECTION_WINDOW, Target, WINDOW};

/// The largest frame that a server may send: what ours send.
const MAX_FRAME: u32 = 1 << 20;

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Connection {
    target: Target,
    up: Slot,
    /// One call dials, the others wait for it.
    dialling: Mutex<()>,
}

/// What calls begin on; nothing where the connection is lost.
type Slot = Arc<ArcSwapOption<SendRequest<Bytes>>>;

impl Connection {
    /// A connection to `target`, which comes up before this returns.
    ///
    /// # Errors
    /// What stands in the way.
    pub(super) async fn open(target: &Target) -> io::Result<Connection> {
        let connection = Connection { target: target.clone(), up: Slot::default(), dialling: Mutex::default() };
        connection.up().await?;
        Ok(connection)
    }

    /// Sends a call.
    ///
    /// # Errors
    /// Where the server cannot be reached. The call was not sent then.
    pub(super) async fn begin(&self, head: &Request<()>, message: &Bytes) -> io::Result<ResponseFuture> {
        let mut last = None;
        // The server may have said goodbye since the last call; then another connection takes this one.
        for _ in 0..2 {
            let up = self.up().await?;
            match up.as_ref().clone().send_request(head.clone(), false) {
                Ok((answer, mut body)) => {
                    body.send_data(message.clone(), true).map_err(io::Error::other)?;
                    return Ok(answer);
                }
                Err(error) => {
                    lost(&self.up, &up);
                    last = Some(error);
                }
            }
        }
        Err(io::Error::other(last.expect("it was tried")))
    }

    async fn up(&self) -> io::Result<Arc<SendRequest<Bytes>>> {
        if let Some(up) = self.up.load_full() {
            return Ok(up);
        }
        let _dialling = self.dialling.lock().await;
        match self.up.load_full() {
            Some(up) => Ok(up),
            None => self.dial().await,
        }
    }

    async fn dial(&self) -> io::Result<Arc<SendRequest<Bytes>>> {
        let dialled = timeout(CONNECT, async {
            let stream = TcpStream::connect(self.target.text.as_str()).await?;
            stream.set_nodelay(true)?;
            let mut builder = Builder::new();
            builder
                .enable_push(false)
                .initial_window_size(WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(MAX_FRAME);
            builder.handshake(stream).await.map_err(io::Error::other)
        });
        let (requests, connection) = dialled.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let up = Arc::new(requests);
        self.up.store(Some(up.clone()));
        // Held weakly: the connection is over when nobody can call on it any more.
        let (slot, own) = (Arc::downgrade(&self.up), Arc::downgrade(&up));
        tokio::spawn(async move {
            // Calls tell what became of it.
            let _ = connection.await;
            if let (Some(slot), Some(own)) = (slot.upgrade(), own.upgrade()) {
                lost(&slot, &own);
            }
        });
        Ok(up)
    }
}

/// No call begins on `gone` from now on.
fn lost(slot: &ArcSwapOption<SendRequest<Bytes>>, gone: &Arc<SendRequest<Bytes>>) {
    slot.compare_and_swap(gone, None);
}

#[cfg(test)]
mod tests {
    use http::Response;
    use tokio::net::TcpListener;

    use super::*;

    /// Serves one call on each connection, then leaves it.
    async fn one_call_each(listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            if let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(Response::new(()), true).unwrap();
            }
            connection.graceful_shutdown();
            while connection.accept().await.is_some() {}
        }
    }

    #[tokio::test]
    async fn a_connection_that_the_server_leaves_is_dialled_again_by_the_next_call() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(one_call_each(listener));
        let connection = Connection::open(&address.parse().unwrap()).await.unwrap();
        let head = Request::post(format!("http://{address}/")).body(()).unwrap();
        let mut answered = 0;
        // A call that meets the goodbye fails; it must not be the end.
        for _ in 0..20 {
            let Ok(answer) = connection.begin(&head, &Bytes::new()).await else { continue };
            answered += usize::from(answer.await.is_ok());
        }
        assert!(answered >= 10, "{answered} of 20 calls answered");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_as_the_system_tells_it() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let error = Connection::open(&gone.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
