//! Long work in steps, between which calls get their turns.

use tokio::task::yield_now;

/// Endpoints, counted by model, that are looked at in one step: some tenths of a millisecond.
const STEP: usize = 1024;

/// Counts what is done without a pause.
#[derive(Debug, Default)]
pub(super) struct Steps(usize);

impl Steps {
    /// So many were looked at. Lets others have their turn where that is enough.
    pub(super) async fn looked_at(&mut self, count: usize) {
        self.0 += count;
        if self.0 >= STEP {
            self.0 = 0;
            yield_now().await;
        }
    }
}
