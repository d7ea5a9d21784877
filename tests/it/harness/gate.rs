//! A gate that engines and loads come to: the test learns who came, and says who goes on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use infergate::infer::Interest;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::wait::{PATIENCE, within};

/// How many may have come that a test did not look at.
const MOST: usize = 4096;

/// The test's side. Dropping it opens the gate, so that no thread outlives its test behind it.
pub struct Gate {
    shared: Arc<Shared>,
    came: mpsc::Receiver<String>,
    comes: mpsc::Sender<String>,
}

/// The side of those who pass.
#[derive(Clone)]
pub struct Passage {
    shared: Arc<Shared>,
    comes: mpsc::Sender<String>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    may_pass: usize,
    open: bool,
}

impl Gate {
    /// A gate that is closed.
    pub fn closed() -> Gate {
        let (comes, came) = mpsc::channel(MOST);
        Gate { shared: Arc::default(), came, comes }
    }

    /// For those who are to pass.
    pub fn passage(&self) -> Passage {
        Passage { shared: self.shared.clone(), comes: self.comes.clone() }
    }

    /// Waits for the next to come, and says who it is.
    #[track_caller]
    pub fn next(&mut self) -> impl Future<Output = String> {
        let next = within(self.came.recv());
        async { next.await.expect("the gate holds a sender itself") }
    }

    /// Waits for the next two, in whatever order they come, and says who they are, sorted.
    pub async fn next_two(&mut self) -> [String; 2] {
        let mut two = [self.next().await, self.next().await];
        two.sort();
        two
    }

    /// Whether anybody came who was not seen yet.
    pub fn has_visitor(&self) -> bool {
        !self.came.is_empty()
    }

    /// Lets one go on, whoever it is: for when all who may come meanwhile have come.
    pub fn let_one_pass(&self) {
        self.shared.change(|state| state.may_pass += 1);
    }

    /// Lets everybody go on from now on.
    pub fn open(&self) {
        self.shared.change(|state| state.open = true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

impl Passage {
    /// Says who came, and blocks the thread until the gate lets it go on, whoever leaves meanwhile.
    pub fn pass(&self, who: impl Into<String>) {
        self.wait(who.into(), || false);
    }

    /// The same, but gives up once nobody waits for the run any more: false then.
    pub fn pass_while_waited_for(&self, who: impl Into<String>, interest: &Interest) -> bool {
        let shared = self.shared.clone();
        let stop = move || shared.change(|_| ());
        interest.while_waited_for(stop, || self.wait(who.into(), || interest.is_gone()))
    }

    fn wait(&self, who: String, given_up: impl Fn() -> bool) -> bool {
        // A test that has ended wants to know no more.
        let told = self.comes.try_send(who);
        assert!(!matches!(told, Err(TrySendError::Full(_))), "more than {MOST} came that the test did not look at");
        let closed = |state: &mut State| state.may_pass == 0 && !state.open && !given_up();
        // Longer than the test itself waits for anything, so that it is the test that says what did not happen.
        let patience = 2 * PATIENCE;
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), patience, closed);
        let (mut state, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timed_out.timed_out(), "nobody opened the gate within {patience:?}");
        if given_up() {
            return false;
        }
        state.may_pass = state.may_pass.saturating_sub(1);
        true
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}
