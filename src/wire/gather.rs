//! Writes gathered: what a connection's task has to say in one turn goes out in one piece. HTTP/2 as `h2` speaks it
//! writes, and flushes, each message of 256 bytes or more by itself, and a system call costs more than such a message.
//!
//! A turn goes on while the task is woken in it, so that what its own parts tell one another costs no way over the
//! scheduler, and what they say together goes out together.

mod noting;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use pin_project_lite::pin_project;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use noting::Noting;

/// Bytes that are gathered. What does not fit goes out at once, behind what was gathered and without being copied. With
/// four times as much as a frame of the usual size, calls of 16 KiB share system calls, too: at the gateway a tenth less
/// CPU than where each goes out by itself (`benches/gateway`).
const ROOM: usize = 64 * 1024;

/// So much room is kept for the next turn whatever this one had to say.
const KEPT: usize = 16 * 1024;

/// How often a task that is woken in its turn is polled again before others have theirs.
const ROUNDS: usize = 4;

/// A stream whose writes are gathered. Its flush does nothing: whoever polls its user flushes, by [`Turns`].
#[derive(Debug)]
pub struct Gathering<T> {
    inner: Arc<Mutex<Inner<T>>>,
}

/// Sends what was gathered at the end of each turn of a task.
#[derive(Debug)]
pub struct Turns<T> {
    inner: Arc<Mutex<Inner<T>>>,
}

#[derive(Debug)]
struct Inner<T> {
    stream: T,
    gathered: BytesMut,
    /// Bytes were written that the stream itself may hold back.
    unflushed: bool,
    /// Why what was gathered could not be sent, for whoever writes next.
    failed: Option<io::Error>,
}

/// Gathers what is written to `stream`.
pub fn gather<T>(stream: T) -> (Gathering<T>, Turns<T>) {
    let inner = Inner { stream, gathered: BytesMut::new(), unflushed: false, failed: None };
    let inner = Arc::new(Mutex::new(inner));
    (Gathering { inner: inner.clone() }, Turns { inner })
}

impl<T: AsyncWrite + Unpin> Turns<T> {
    /// Polls `user`, which writes to the stream, and sends after each turn what it wrote.
    pub fn of<F>(&self, user: F) -> TurnsOf<T, F> {
        let noting = Arc::new(Noting::default());
        TurnsOf { user, inner: self.inner.clone(), waker: noting.clone().into(), noting }
    }
}

pin_project! {
    /// The future of whoever writes to a stream that gathers.
    pub struct TurnsOf<T, F> {
        #[pin]
        user: F,
        inner: Arc<Mutex<Inner<T>>>,
        noting: Arc<Noting>,
        waker: Waker,
    }
}

impl<T: AsyncWrite + Unpin, F: Future> Future for TurnsOf<T, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.noting.begin(cx.waker());
        let mut cx = Context::from_waker(this.waker);
        let mut polled = this.user.as_mut().poll(&mut cx);
        for _ in 1..ROUNDS {
            if polled.is_ready() || !this.noting.was_woken() {
                break;
            }
            polled = this.user.as_mut().poll(&mut cx);
        }
        lock(this.inner).send(&mut cx);
        this.noting.end();
        polled
    }
}

fn lock<T>(inner: &Mutex<Inner<T>>) -> MutexGuard<'_, Inner<T>> {
    inner.lock().expect("nothing panics while it holds the stream")
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    /// Sends what was gathered, as far as the stream takes it.
    fn send(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_send_all(cx) {
            // Nothing more can be sent: to try again with each turn would wake the user for ever.
            self.gathered.clear();
            self.unflushed = false;
            self.failed = Some(error);
            // The user finds out when it writes or flushes, which it does in each turn.
            cx.waker().wake_by_ref();
        }
    }

    fn poll_send_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let all = self.gathered.len();
        while self.gathered.has_remaining() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered))?;
            self.sent(sent)?;
        }
        if all <= KEPT && self.gathered.capacity() > KEPT {
            // A connection with little to say, as one that is idle, keeps little room.
            self.gathered = BytesMut::new();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes `parts` in, or sends them behind what was gathered; how many bytes of them.
    fn poll_take(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.gathered.len() + len <= ROOM {
            parts.iter().for_each(|part| self.gathered.extend_from_slice(part));
            return Poll::Ready(Ok(len));
        }
        loop {
            let before = self.gathered.len();
            let sent = if before == 0 {
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts))?
            } else {
                let first = IoSlice::new(&self.gathered);
                let all: SmallVec<[IoSlice<'_>; 8]> = std::iter::once(first).chain(parts.iter().copied()).collect();
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &all))?
            };
            self.sent(sent)?;
            if sent > before {
                return Poll::Ready(Ok(sent - before));
            }
        }
    }

    fn sent(&mut self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.gathered.advance(bytes.min(self.gathered.len()));
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathering<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.inner).stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathering<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.inner).poll_take(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.inner).poll_take(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(lock(&self.inner).failed.take().map_or(Ok(()), Err))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.inner);
        ready!(inner.poll_send_all(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
