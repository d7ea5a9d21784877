//! Calls that wait at the gateway: a queue in front of the fleet of those models whose configuration asks for it, and the
//! numbers of that queue.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;

use crate::balance::{Assemble, Assemblies, Fleet, Mergeable, Serve};
use crate::batch::{Batcher, Bounds, Rules};
use crate::config::{Binding, Limits, ModelTable};
use crate::infer::{Backlog, Batch, ModelName, Place, Slot, Version, call};
use crate::observe::{Statistics, StatisticsTable};

/// What assembles a queue for each model that `models` wants bound late; each may hold so much as `limits` say, and is told
/// of in `statistics`.
pub(super) fn assembly(models: Arc<ModelTable>, limits: &Limits, statistics: Arc<StatisticsTable>) -> Assemblies {
    let bounds = Bounds { calls: limits.queue_calls, bytes: limits.queue_bytes.get() };
    Arc::new(move |name| {
        let binding = models.get(name.as_str()).map(|rules| rules.binding);
        (binding == Some(Binding::Late)).then(|| assemble(name.clone(), statistics.clone(), bounds))
    })
}

fn assemble(name: ModelName, statistics: Arc<StatisticsTable>, bounds: Bounds) -> Assemble {
    Arc::new(move |fleet, mergeable, version: Option<Version>| {
        queue(fleet, mergeable, statistics.of(&name, version), bounds)
    })
}

/// `Batch(Fleet)`. Nothing waits for company: what finds an endpoint free goes there at once.
fn queue(fleet: Fleet, mergeable: &Mergeable, statistics: Arc<Statistics>, bounds: Bounds) -> Option<Serve> {
    let rules = Rules {
        axis: Some(mergeable.axis.clone()),
        max_batch: mergeable.max_batch,
        // A larger call goes out as it came; its backend knows what to do with it.
        max_batch_is_firm: false,
        ..Rules::call_by_call(bounds)
    };
    let (_, leaving) = watch::channel(false);
    let gauges = statistics.queue().clone();
    let place = Counted { place: fleet, statistics };
    let batcher = Batcher::new(place, mergeable.signature.clone(), rules, gauges, leaving).ok()?;
    Some(Arc::new(move |request| Box::pin(call(&batcher, request))))
}

/// A place, or a slot of it, whose batches are counted.
struct Counted<P> {
    place: P,
    statistics: Arc<Statistics>,
}

impl<P: Place> Place for Counted<P> {
    type Slot = Counted<P::Slot>;

    fn poll_slot(&mut self, cx: &mut Context<'_>, waiting: &Backlog) -> Poll<Self::Slot> {
        let statistics = &self.statistics;
        self.place.poll_slot(cx, waiting).map(|place| Counted { place, statistics: statistics.clone() })
    }
}

impl<S: Slot> Slot for Counted<S> {
    fn rows(&self) -> usize {
        self.place.rows()
    }

    fn run(self, batch: Batch) {
        self.statistics.sent(&batch.composition);
        self.place.run(batch);
    }
}
