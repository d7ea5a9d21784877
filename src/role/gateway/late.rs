//! Calls that wait at the gateway: a queue in front of the fleet of those models whose configuration asks for it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::balance::{Assemble, Assemblies, Fleet, Mergeable, Serve};
use crate::batch::{Batcher, Bounds, Rules};
use crate::config::{Binding, Limits, ModelTable};
use crate::infer::call;

/// What assembles a queue for each model that `models` wants bound late; each may hold so much as `limits` say.
pub(super) fn assembly(models: Arc<ModelTable>, limits: &Limits) -> Assemblies {
    let bounds = Bounds { calls: limits.queue_calls, bytes: limits.queue_bytes.get() };
    let assemble: Assemble = Arc::new(move |fleet, mergeable| queue(fleet, mergeable, bounds));
    Arc::new(move |name| {
        let binding = models.get(name.as_str()).map(|rules| rules.binding);
        (binding == Some(Binding::Late)).then(|| assemble.clone())
    })
}

/// `Batch(Fleet)`. Nothing waits for company: what finds an endpoint free goes there at once.
fn queue(fleet: Fleet, mergeable: &Mergeable, bounds: Bounds) -> Option<Serve> {
    let rules = Rules {
        axis: Some(mergeable.axis.clone()),
        max_batch: mergeable.max_batch,
        // A larger call goes out as it came; its backend knows what to do with it.
        max_batch_is_firm: false,
        ..Rules::call_by_call(bounds)
    };
    let (_, leaving) = watch::channel(false);
    let batcher = Batcher::new(fleet, mergeable.signature.clone(), rules, Arc::default(), leaving).ok()?;
    Some(Arc::new(move |request| Box::pin(call(&batcher, request))))
}
