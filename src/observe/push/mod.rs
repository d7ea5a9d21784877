//! The metrics of this process, pushed to a collector of OpenTelemetry at a steady pace by a task of its own. What is pushed is
//! what /metrics tells at that moment. A collector that is slow or dead costs calls nothing: the next push takes the place
//! of one that was not taken, since all numbers are totals, and nothing is kept for it.

mod counts;
mod environment;
mod message;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector as Collects;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

pub use counts::Counts;
pub use environment::Environment;
pub use message::Histograms;

use super::Metrics;
use super::otlp::{Closing, Collector, Export, Exporter, Signal, Taken, Task};
use message::Told;

/// A clock does not reach further than it must.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How metrics are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The time between two pushes.
    pub interval: Duration,
    /// How long one may take, in however many messages.
    pub timeout: Duration,
    /// In which form histograms are told that have two.
    pub histograms: Histograms,
}

/// Pushes that are about to begin.
pub struct Push {
    rules: Rules,
    exporter: Exporter,
    resource: Vec<(String, String)>,
    counts: Arc<Counts>,
}

impl Push {
    /// To `collector`, by `rules`. Runs on the runtime that it is called in.
    ///
    /// # Errors
    /// What is wrong with the settings of the collector.
    pub fn to(rules: Rules, collector: &Collector) -> Result<Push, String> {
        let exporter = Exporter::to(collector, Signal::Metrics)?;
        Ok(Push { rules, exporter, resource: collector.resource.clone(), counts: Arc::default() })
    }

    /// What becomes of them, as metrics.
    pub fn metrics(&self) -> impl Collects + use<> {
        counts::Telling(self.counts.clone())
    }

    /// Pushes `metrics` from now on. Runs on the runtime that it is called in.
    pub fn start(self, metrics: Arc<Metrics>) -> Pusher {
        let Push { rules, exporter, resource, counts } = self;
        let told = Arc::new(Told { resource, histograms: rules.histograms, since: SystemTime::now() });
        Pusher::of(Pushing { rules, exporter, told, metrics, counts, fails: false })
    }
}

/// The task that pushes. When it is dropped that ends.
pub struct Pusher {
    counts: Arc<Counts>,
    task: Task,
}

impl Pusher {
    fn of(pushing: Pushing<impl Export + Sync + 'static>) -> Pusher {
        let counts = pushing.counts.clone();
        Pusher { counts, task: Task::start(|closing| pushing.run(closing)) }
    }

    /// What became of pushes so far.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Pushes once more, and never again; what is not taken within that time is given up.
    pub async fn flush(&self, within: Duration) {
        self.task.flush(within).await;
    }
}

struct Pushing<E> {
    rules: Rules,
    exporter: E,
    told: Arc<Told>,
    metrics: Arc<Metrics>,
    counts: Arc<Counts>,
    /// Whether the last push failed.
    fails: bool,
}

impl<E: Export + Sync> Pushing<E> {
    async fn run(mut self, mut closing: Closing) {
        let interval = self.rules.interval.min(LONGEST);
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                biased;
                is_flushed = closing.asked() => match is_flushed {
                    true => true,
                    false => return,
                },
                _ = ticks.tick() => false,
            };
            self.push().await;
            if is_last {
                return;
            }
        }
    }

    async fn push(&mut self) {
        let fate = self.counts.begin();
        let result = timeout(self.rules.timeout, self.pushed()).await;
        let result = result.unwrap_or_else(|_| Err("it was not taken in time".to_owned()));
        if result.is_ok() {
            fate.taken();
        }
        match &result {
            Err(error) if !self.fails => tracing::warn!(error, "metrics cannot be pushed"),
            Ok(()) if self.fails => tracing::info!("metrics are pushed again"),
            _ => {}
        }
        self.fails = result.is_err();
    }

    async fn pushed(&self) -> Result<(), String> {
        let (metrics, told) = (self.metrics.clone(), self.told.clone());
        // On a thread of its own: a large process has megabytes to tell.
        let messages = spawn_blocking(move || told.messages(&metrics.families(), SystemTime::now())).await;
        for message in messages.map_err(|error| error.to_string())? {
            let Taken { rejected, why } = self.exporter.export(message).await.taken?;
            if rejected > 0 || !why.is_empty() {
                tracing::warn!(rejected, why, "a collector has not taken all metrics");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
