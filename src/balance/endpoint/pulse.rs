//! When a connection was last heard of.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::dial::Io;
use crate::balance::now;

/// When a connection was last heard of, or last had nothing to wait for: nanoseconds since its beginning and one, or zero
/// before the first time.
#[derive(Clone)]
pub(super) struct Pulse(Arc<(Instant, AtomicU64)>);

impl Pulse {
    pub(super) fn new() -> Pulse {
        Pulse(Arc::new((now(), AtomicU64::new(0))))
    }

    pub(super) fn beat(&self, now: Instant) {
        let since = now.saturating_duration_since(self.0.0).as_nanos() as u64;
        self.0.1.fetch_max(since + 1, Relaxed);
    }

    pub(super) fn has_beaten(&self) -> bool {
        self.0.1.load(Relaxed) > 0
    }

    pub(super) fn last(&self) -> Instant {
        self.0.0 + Duration::from_nanos(self.0.1.load(Relaxed).saturating_sub(1))
    }
}

/// A stream that notes when bytes come.
pub(super) struct Heard {
    pub(super) inner: Box<dyn Io>,
    pub(super) pulse: Pulse,
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
