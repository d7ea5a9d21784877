//! Wakes whoever waits for something to change at the endpoints of a model: an answer, an endpoint that came or went.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Waker;

/// Rung with each change. Where nobody waits, that costs a fence and a load.
#[derive(Debug, Default)]
pub(super) struct Bell {
    is_awaited: AtomicBool,
    /// One for each fleet of the model at most.
    waiting: Mutex<Vec<Waker>>,
}

impl Bell {
    /// Has `waker` woken with the next change. Whoever asks for it looks again afterwards: what changed before is not told.
    pub(super) fn wait(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().expect("nothing panics while wakers are kept");
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        self.is_awaited.store(true, Ordering::Relaxed);
        drop(waiting);
        // Either whoever waits sees the change when it looks again, or whoever rings sees that it waits.
        fence(Ordering::SeqCst);
    }

    /// Something has changed. Wakers act in place: not to be called with anything locked that they may want.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if !self.is_awaited.load(Ordering::Relaxed) {
            return;
        }
        let woken = {
            let mut waiting = self.waiting.lock().expect("nothing panics while wakers are kept");
            self.is_awaited.store(false, Ordering::Relaxed);
            std::mem::take(&mut *waiting)
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_waits_is_woken_once_and_by_the_next_change_only() {
        let (bell, count) = (Bell::default(), Arc::<Count>::default());
        let waker = Waker::from(count.clone());
        bell.ring();
        bell.wait(&waker);
        bell.wait(&waker);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        bell.ring();
        bell.ring();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
