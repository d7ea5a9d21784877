//! The bytes of all messages in memory at one time, bounded for the whole process: taken before a buffer is reserved.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::error::{Error, Result, Room};

/// What a refused caller is told to wait: messages are short-lived.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A bound on bytes.
#[derive(Debug)]
pub struct ByteBudget {
    used: AtomicUsize,
    limit: usize,
}

/// Bytes taken from a budget, given back on drop.
#[derive(Debug)]
pub struct Taken {
    from: Arc<ByteBudget>,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<ByteBudget> {
        Arc::new(ByteBudget { used: AtomicUsize::new(0), limit })
    }

    /// Takes `bytes`.
    ///
    /// # Errors
    /// `Overloaded` where they are not left.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Taken> {
        let mut taken = Taken { from: self.clone(), bytes: 0 };
        taken.grow(bytes)?;
        Ok(taken)
    }
}

impl Taken {
    /// Takes more, as for what a message inflates to.
    ///
    /// # Errors
    /// `Overloaded` where they are not left.
    pub fn grow(&mut self, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let before = self.from.used.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > self.from.limit {
            self.from.used.fetch_sub(bytes, Relaxed);
            let limit = self.from.limit;
            return Err(Error::overloaded(
                Room::MessageBytes,
                format!("messages in memory are at their limit of {limit} bytes"),
                RETRY_AFTER,
            ));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Takes more for an answer that exists already. The budget may be overdrawn so, and is then closed to new calls
    /// until slow readers have taken their answers.
    pub fn overdraw(&mut self, bytes: usize) {
        self.from.used.fetch_add(bytes, Relaxed);
        self.bytes += bytes;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.from.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_left_is_refused_and_what_is_dropped_is_there_again() {
        let budget = ByteBudget::new(100);
        let mut first = budget.take(60).unwrap();
        assert!(budget.take(41).is_err());
        first.overdraw(50);
        assert!(budget.take(1).is_err());
        drop(first);
        assert_eq!(budget.used.load(Relaxed), 0);
        assert!(budget.take(100).is_ok());
    }
}
