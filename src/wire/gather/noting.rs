//! The waker of a task that is polled in turns: what wakes the task while it has its turn prolongs the turn, and only
//! what wakes it afterwards goes to the scheduler, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::AcqRel};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// Nobody has woken the task since its turn ended.
const RESTS: u8 = 0;
/// It has its turn, and was not woken in it.
const TURNS: u8 = 1;
/// It was woken: in its turn, which goes on then, or after it, and the scheduler knows.
const WOKEN: u8 = 2;

/// Notes that a task is woken.
#[derive(Debug, Default)]
pub(super) struct Noting {
    task: AtomicWaker,
    state: AtomicU8,
}

impl Noting {
    /// The turn of `task` begins.
    pub(super) fn begin(&self, task: &Waker) {
        self.task.register(task);
        self.state.swap(TURNS, AcqRel);
    }

    /// Whether the task was woken since its turn began, or since this was asked last.
    pub(super) fn was_woken(&self) -> bool {
        self.state.swap(TURNS, AcqRel) == WOKEN
    }

    /// The turn ends. If the task was woken in it, the scheduler is told now.
    pub(super) fn end(&self) {
        if self.state.swap(RESTS, AcqRel) == WOKEN {
            self.state.swap(WOKEN, AcqRel);
            self.task.wake();
        }
    }
}

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, AcqRel) == RESTS {
            self.task.wake();
        }
    }
}
