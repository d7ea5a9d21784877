//! Calls that are kept, on their way to a collector: a bounded queue, and a task that empties it. A collector that is slow
//! or dead costs calls nothing; what it does not take is dropped and counted.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use super::counts::{Counts, Dropped};
use super::otlp::Spans;
use super::spans::{Anchor, Ended, draw};
use crate::observe::otlp::{Closing, Export, Sent, Taken, Task};

/// Calls whose spans go out in one message at most.
const MOST: usize = 128;

/// How long a call waits for others to go out with, since a message costs something whatever is in it.
const GATHER: Duration = Duration::from_secs(1);

/// A call that is kept: it counts as dropped unless it is exported.
struct Waiting {
    ended: Ended,
    fate: Fate,
}

/// What becomes of it, counted when that is known, which is when this is dropped.
struct Fate {
    counts: Arc<Counts>,
    /// None once it is exported.
    dropped: Option<Dropped>,
}

impl Drop for Fate {
    fn drop(&mut self) {
        match self.dropped {
            None => self.counts.export(),
            Some(why) => self.counts.lose(why),
        }
    }
}

/// The queue, and the task behind it. When it is dropped the task sends what waits and ends.
pub(super) struct Queue {
    sender: mpsc::Sender<Waiting>,
    /// Told when so many wait that a message is full. Waking the task for each call would cost more than drawing that.
    full: Arc<Notify>,
    enough: usize,
    counts: Arc<Counts>,
    task: Task,
}

impl Queue {
    /// A queue of so many calls of a process with these attributes in front of `exporter`. Runs on the runtime that it is
    /// called in.
    pub(super) fn start<E: Export + 'static>(exporter: E, resource: Vec<(String, String)>, calls: usize) -> Queue {
        let (sender, waiting) = mpsc::channel(calls.max(1));
        let (full, enough) = (Arc::<Notify>::default(), MOST.min(sender.max_capacity()));
        let counts = Arc::<Counts>::default();
        let exporting = |closing| Exporting {
            exporter,
            resource,
            counts: counts.clone(),
            full: full.clone(),
            enough,
            closing,
            longest: 0,
            fails: false,
            said: String::new(),
        };
        let task = Task::start(|closing| exporting(closing).run(waiting));
        Queue { sender, full, enough, counts, task }
    }

    pub(super) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Has a call exported, or drops it at once; whether it waits for that.
    pub(super) fn put(&self, ended: Ended) -> bool {
        self.counts.keep();
        let fate = Fate { counts: self.counts.clone(), dropped: Some(Dropped::Shutdown) };
        match self.sender.try_send(Waiting { ended, fate }) {
            Ok(()) => {
                if self.sender.max_capacity() - self.sender.capacity() >= self.enough {
                    self.full.notify_one();
                }
                true
            }
            Err(TrySendError::Full(mut refused)) => {
                refused.fate.dropped = Some(Dropped::QueueFull);
                false
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    /// Exports what waits, and nothing after that; what is not taken within that time is dropped.
    pub(super) async fn flush(&self, within: Duration) {
        self.task.flush(within).await;
    }
}

struct Exporting<E> {
    exporter: E,
    resource: Vec<(String, String)>,
    counts: Arc<Counts>,
    full: Arc<Notify>,
    enough: usize,
    closing: Closing,
    /// Bytes of the longest message so far.
    longest: usize,
    /// Whether the last export failed.
    fails: bool,
    /// What the collector had to say of the last.
    said: String,
}

impl<E: Export> Exporting<E> {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        loop {
            let mut calls = Vec::with_capacity(MOST);
            self.gather(&mut waiting, &mut calls).await;
            if calls.is_empty() {
                return;
            }
            self.export(calls).await;
        }
    }

    /// Waits for a call, and a moment for others. None comes only where there will never be one.
    async fn gather(&mut self, waiting: &mut mpsc::Receiver<Waiting>, calls: &mut Vec<Waiting>) {
        loop {
            tokio::select! {
                biased;
                true = self.closing.asked(), if !waiting.is_closed() => waiting.close(),
                _ = waiting.recv_many(calls, MOST) => break,
            }
        }
        let mut moment = pin!(sleep(GATHER));
        while !calls.is_empty() && !waiting.is_closed() && calls.len() + waiting.len() < self.enough {
            tokio::select! {
                biased;
                is_closing = self.closing.asked() => if is_closing { waiting.close() },
                () = self.full.notified() => {}
                () = &mut moment => break,
            }
        }
        while calls.len() < MOST
            && let Ok(call) = waiting.try_recv()
        {
            calls.push(call);
        }
    }

    async fn export(&mut self, mut calls: Vec<Waiting>) {
        let anchor = Anchor::now();
        let mut spans = Spans::of(&self.resource, self.longest);
        calls.iter().for_each(|call| draw(&call.ended, anchor, &mut spans));
        let (count, message) = (spans.count(), spans.finish());
        self.longest = self.longest.max(message.len());
        // Until the answer is there: should the task be ended meanwhile, they count as dropped by that.
        let Sent { retries, taken } = self.exporter.export(message.into()).await;
        let fate = if taken.is_ok() { None } else { Some(Dropped::Failed) };
        self.counts.retry(retries);
        if let Ok(taken) = &taken {
            self.counts.export_spans(count, taken.rejected);
        }
        calls.iter_mut().for_each(|call| call.fate.dropped = fate);
        match taken {
            Err(error) if !self.fails => tracing::warn!(error, "spans cannot be exported"),
            Err(_) => {}
            Ok(taken) => self.taken(taken),
        }
        self.fails = fate.is_some();
    }

    /// Says in the log what is new of a message that was taken.
    fn taken(&mut self, Taken { rejected, why }: Taken) {
        if self.fails {
            tracing::info!("spans are exported again");
        }
        if self.said != why && rejected > 0 {
            tracing::warn!(rejected, why, "a collector has not taken all spans");
        } else if self.said != why && !why.is_empty() {
            tracing::warn!(why, "a collector has something to say of spans");
        }
        self.said = why;
    }
}

#[cfg(test)]
mod tests;
