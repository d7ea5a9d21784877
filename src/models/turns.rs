//! Turns: loads and unloads of one model happen one after the other, those of different models do not wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::infer::ModelName;

/// Whose turn it is, by model. A model for which nobody has or wants a turn takes no room.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<ModelName, Weak<Semaphore>>>);

/// The turn of one model, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Turns {
    /// Waits for the turn of a model. Waiting is given up by dropping the future.
    pub(super) async fn take(&self, name: &ModelName) -> Turn {
        let turn = self.of(name);
        Turn(turn.acquire_owned().await.expect("turns are never closed"))
    }

    fn of(&self, name: &ModelName) -> Arc<Semaphore> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Semaphore::new(1));
        turns.insert(name.clone(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_model_takes_turns_and_another_does_not_wait() {
        let (turns, digits, penguins) = (Turns::default(), "digits".parse().unwrap(), "penguins".parse().unwrap());
        let first = turns.take(&digits).await;
        assert!(timeout(Duration::from_secs(1), turns.take(&digits)).await.is_err());
        assert!(timeout(Duration::from_secs(1), turns.take(&penguins)).await.is_ok());
        drop(first);
        assert!(timeout(Duration::from_secs(1), turns.take(&digits)).await.is_ok());
    }

    #[tokio::test]
    async fn models_that_nobody_waits_for_are_forgotten() {
        let turns = Turns::default();
        for number in 0..100 {
            drop(turns.take(&format!("model{number}").parse().unwrap()).await);
        }
        assert!(turns.0.lock().unwrap().len() <= 1);
    }
}
