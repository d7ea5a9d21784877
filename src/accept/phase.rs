//! How the process stops, as seen from the door: one value that only goes forward.

use tokio::sync::watch;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its models are not loaded yet. Calls are answered, by those that are.
    Starting,
    /// It serves.
    Serving,
    /// It says that it will stop, and still takes calls: others need a while to notice.
    Announcing,
    /// It asks its connections to go and takes no new ones; calls in flight finish.
    Leaving,
    /// It cuts off what is left.
    Cut,
}

/// Moves the phase forward.
#[derive(Debug, Clone)]
pub struct Phases(watch::Sender<Phase>);

impl Default for Phases {
    fn default() -> Self {
        Phases(watch::Sender::new(Phase::Starting))
    }
}

impl Phases {
    /// Goes on to `phase`, unless it is there or further already.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let forward = *now < phase;
            *now = phase.max(*now);
            forward
        });
    }

    /// The phase now.
    pub fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// For whoever must see it change.
    pub fn watch(&self) -> PhaseWatch {
        PhaseWatch(self.0.subscribe())
    }
}

/// Sees the phase change.
#[derive(Debug, Clone)]
pub struct PhaseWatch(watch::Receiver<Phase>);

impl PhaseWatch {
    /// Waits until `phase` or a later one.
    pub async fn reached(&mut self, phase: Phase) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            // Nobody can move it any more, so that it will never come.
            std::future::pending::<()>().await;
        }
    }
}
