//! A batch's run: one span, linked to each call that was in it.

use super::canvas::{Canvas, Place};
use crate::infer::Run;
use crate::observe::trace::names;
use crate::observe::trace::otlp::{Kind, Value};

/// Draws a run, where no other of its calls did.
pub(super) fn draw(canvas: &mut Canvas<'_>, run: &Run) {
    // Asked before whether it is to be told, so that its place is settled for all.
    let home = run.joint.home_for(canvas.own());
    if !run.joint.is_to_be_told() {
        return;
    }
    let [taken, merged, executed] = [run.taken, run.merged, run.executed].map(|at| canvas.at(at));
    let place = Place::inside(home);
    let mut span = canvas.span("batch", Kind::Internal, run.joint.span_id(), place, (taken, executed));
    let composition = &run.composition;
    span.set(&names::BATCH_SIZE, composition.rows as i64)
        .set(&names::BATCH_CALLS, run.joint.calls() as i64)
        .set(&names::BATCH_BUCKET, Value::Dims(run.shape.as_deref().unwrap_or_default()))
        .set(&names::BATCH_PADDING, composition.padding as i64)
        .set(&names::BATCH_CLOSED, composition.closed.name())
        .set(&names::DEVICE, &*run.device)
        .nanos(&names::MERGE_DURATION, merged.saturating_sub(taken))
        .nanos(&names::EXECUTE_DURATION, executed.saturating_sub(merged))
        .link(run.joint.members());
    if let Some(failure) = &run.failure {
        span.fail(failure.kind().name(), failure.message());
    }
}
