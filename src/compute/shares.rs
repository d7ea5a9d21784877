//! CPU shares: how many batches may run at once on the CPUs that the process has. Models share them, so that ten
//! loaded models do not mean ten times the threads running.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// A count of shares. Whoever waits for one is woken in the order in which it came.
#[derive(Debug)]
pub struct CpuShares {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: VecDeque<Waker>,
}

/// Some of the shares, given back on drop.
#[derive(Debug)]
pub struct Share {
    from: Arc<CpuShares>,
    count: usize,
}

impl CpuShares {
    /// As many shares as there are CPUs to use, at least one.
    pub fn new(cpus: usize) -> Arc<CpuShares> {
        Arc::new(CpuShares { state: Mutex::new(State { free: cpus.max(1), waiting: VecDeque::new() }) })
    }

    /// Takes `count` shares, or keeps the waker for when some are given back.
    pub fn poll_take(self: &Arc<Self>, count: usize, cx: &mut Context<'_>) -> Poll<Share> {
        let mut state = self.state();
        if state.free >= count {
            state.free -= count;
            return Poll::Ready(Share { from: self.clone(), count });
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push_back(cx.waker().clone());
        }
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while shares are counted")
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.from.state();
            state.free += self.count;
            std::mem::take(&mut state.waiting)
        };
        // All are woken: one that finds nothing to do any more would otherwise keep the share from the others.
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_share_that_is_given_back_wakes_each_waiter_once() {
        let (shares, count) = (CpuShares::new(1), Arc::new(Count(AtomicUsize::new(0))));
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let Poll::Ready(share) = shares.poll_take(1, &mut cx) else { panic!("a share is free") };
        assert!(shares.poll_take(1, &mut cx).is_pending());
        assert!(shares.poll_take(1, &mut cx).is_pending());
        drop(share);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(shares.poll_take(1, &mut cx).is_ready());
    }
}
