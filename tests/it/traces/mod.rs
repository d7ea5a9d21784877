//! Distributed traces as a collector sees them.

mod batches;
mod collectors;
mod exporting;
mod questions;
mod sampling;
mod trees;

use infergate::config::{Config, Networks};
use infergate::observe::trace::{Counts, Dropped};

use crate::harness::{Collector, Model, Serving};

/// Everything is recorded and sent there.
fn all_to(collector: &Collector) -> impl Fn(&mut Config) {
    part_to(collector, 1.0)
}

/// This part is recorded and sent there.
fn part_to(collector: &Collector, ratio: f64) -> impl Fn(&mut Config) {
    let endpoint = collector.endpoint();
    move |config| {
        config.tracing.endpoint = endpoint.clone();
        config.tracing.ratio = Some(ratio);
        // No test is thought to be slow that does not say so.
        config.tracing.slow = infergate::config::Period::minutes(10);
    }
}

/// Callers on this machine do not decide what is recorded.
fn trusts_nobody(config: &mut Config) {
    config.tracing.trusted = Networks::default();
}

/// A worker that serves these, as `configure` says.
async fn worker(models: impl IntoIterator<Item = Model>, configure: impl Fn(&mut Config)) -> Serving {
    let configured = |config: &mut Config| {
        config.load_report = true;
        configure(config);
    };
    Serving::with(models, configured).await
}

fn dropped(counts: &Counts) -> u64 {
    Dropped::ALL.into_iter().map(|why| counts.dropped(why)).sum()
}
