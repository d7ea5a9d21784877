//! Whether anything is known of an endpoint since it was connected. What its first call took says nothing of the next:
//! a connection was made, a model ran for the first time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// No answer has come yet.
const UNTRIED: u64 = u64::MAX;
/// A call was answered that was sent after the first answer.
const OVER: u64 = u64::MAX - 1;

/// From a connection to the first answer that counts.
#[derive(Debug)]
pub(super) struct Trial {
    /// When the first answer came, in nanoseconds from the endpoint's zero, or one of the above.
    first: AtomicU64,
}

impl Default for Trial {
    fn default() -> Self {
        Trial { first: AtomicU64::new(UNTRIED) }
    }
}

impl Trial {
    /// It was connected.
    pub(super) fn begin(&self) {
        self.first.store(UNTRIED, Relaxed);
    }

    /// A call was answered that was sent at `sent`. Whether that was the first answer that counts, so that what earlier
    /// ones took is to be forgotten.
    pub(super) fn answered(&self, sent: u64, now: u64) -> bool {
        match self.first.load(Relaxed) {
            OVER => false,
            UNTRIED => {
                self.first.store(now, Relaxed);
                false
            }
            first => {
                // What was sent with the first call may have waited for the same.
                let counts = sent >= first;
                if counts {
                    self.first.store(OVER, Relaxed);
                }
                counts
            }
        }
    }

    /// Whether no call has been answered yet.
    #[inline]
    pub(super) fn is_untried(&self) -> bool {
        self.first.load(Relaxed) == UNTRIED
    }

    /// Whether more is known than what a first call took.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.first.load(Relaxed) == OVER
    }
}
