//! A task that sends until it is told to come to its end.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A task that sends what it has. Dropped, it is told so and goes on by itself.
pub(in crate::observe) struct Task {
    is_closing: watch::Sender<bool>,
    running: Mutex<Option<JoinHandle<()>>>,
}

/// What the task knows of its end.
#[derive(Debug)]
pub(in crate::observe) struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Waits for the end; false where whoever holds the task is gone without having asked for one.
    pub(in crate::observe) async fn asked(&mut self) -> bool {
        self.0.wait_for(|closing| *closing).await.is_ok()
    }
}

impl Task {
    /// Runs on the runtime that it is called in.
    pub(in crate::observe) fn start<F>(run: impl FnOnce(Closing) -> F) -> Task
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let is_closing = watch::Sender::new(false);
        let running = Mutex::new(Some(tokio::spawn(run(Closing(is_closing.subscribe())))));
        Task { is_closing, running }
    }

    /// Has it send what it has, and nothing after that; what is not taken within that time is given up.
    pub(in crate::observe) async fn flush(&self, within: Duration) {
        self.is_closing.send_replace(true);
        let running = self.running.lock().expect("nothing panics while a task is taken").take();
        if let Some(mut running) = running
            && timeout(within, &mut running).await.is_err()
        {
            running.abort();
            // What it held is counted once it is gone.
            let _ = running.await;
        }
    }
}
