//! The call's own span, and the stages in which it waited.

use std::time::{Duration, Instant};

use super::canvas::{Canvas, Drawn, Place};
use super::{OfCall, batch, hop};
use crate::infer::{Mark, Notes, Run, Spent, Stage, TraceContext, Work, Works};
use crate::observe::trace::names;
use crate::observe::trace::otlp::{Kind, Value};

/// Draws all of a call.
pub(super) fn draw(canvas: &mut Canvas<'_>) {
    let ended = canvas.ended;
    let Some(notes) = &ended.trace.notes else { return };
    let all = notes.works();
    let works = &*all.kept;
    let (spent, rest) = spent(ended, works);
    server(canvas, notes, &spent, &all);
    let calls_others = works.iter().any(|work| matches!(work, Work::Hop(_)));
    for mark in ended.timeline.marks_until(ended.at).chain(rest).filter(|mark| waits(mark, calls_others)) {
        stage(canvas, &mark, works);
    }
    for work in works {
        match work {
            Work::Run(run) => batch::draw(canvas, run),
            Work::Hop(hop) => hop::draw(canvas, hop),
        }
    }
}

/// What the call's time was spent on. Of one that failed, or whose caller left, what comes after the last stamp was spent in
/// the stage that it did not get through.
fn spent(ended: &OfCall, works: &[Work]) -> (Spent, Option<Mark>) {
    let timeline = &ended.timeline;
    if ended.status.failure.is_none() {
        return (timeline.spent_until(ended.at), None);
    }
    let last = timeline.marks_until(ended.at).last();
    let since = last.map_or(0, |mark| mark.until);
    let until = ended.at.saturating_duration_since(timeline.started()).as_nanos() as u64;
    let stage = Some(interrupted(last.and_then(|mark| mark.stage), works));
    let mut spent = timeline.spent_until(timeline.started() + Duration::from_nanos(since));
    spent.add(stage, Duration::from_nanos(until.saturating_sub(since)));
    (spent, (since < until).then_some(Mark { stage, is_behind: false, since, until }))
}

/// The stage that comes after this one for such a call.
fn interrupted(last: Option<Stage>, works: &[Work]) -> Stage {
    let hop = works.iter().rev().find_map(|work| if let Work::Hop(hop) = work { Some(hop) } else { None });
    match last {
        None => Stage::Receive,
        Some(Stage::Receive) => Stage::Admit,
        Some(Stage::Admit | Stage::Execute) if hop.is_some_and(|hop| hop.is_asking()) => Stage::Execute,
        Some(Stage::Admit) => {
            if hop.is_some() {
                Stage::Pick
            } else {
                Stage::Queue
            }
        }
        Some(Stage::Execute) => {
            if hop.is_some() {
                Stage::Pick
            } else {
                Stage::Split
            }
        }
        Some(Stage::Split) => Stage::Return,
        Some(Stage::Return | Stage::Encode) => Stage::Encode,
        Some(Stage::Pick | Stage::Connect | Stage::Send | Stage::Queue | Stage::Merge) => Stage::Execute,
    }
}

fn server(canvas: &mut Canvas<'_>, notes: &Notes, spent: &Spent, works: &Works) {
    let (ended, own) = (canvas.ended, canvas.own());
    let place = Place { trace_id: own.trace_id, parent: notes.parent(), is_remote: notes.parent().is_some() };
    let times = (canvas.at(ended.timeline.started()), canvas.at(ended.at));
    let mut span = canvas.span(ended.method, Kind::Server, own.span_id, place, times);
    span.set(&names::RPC_SYSTEM, "grpc")
        .set(&names::RPC_METHOD, ended.method)
        .set(&names::RPC_STATUS, ended.status.code);
    span.set(&names::KEPT, ended.kept.name());
    if names::is_server_error(ended.status.code) {
        let message = ended.status.failure.as_ref().map_or("", |failure| failure.message());
        span.fail(ended.status.code, message);
    }
    if let Some(model) = ended.timeline.model() {
        span.set(&names::MODEL_NAME, model.as_str());
    }
    if let Some(version) = ended.timeline.version() {
        span.set(&names::MODEL_VERSION, Value::Number(version.number() as u64));
    }
    stages(&mut span, spent);
    // Of one that was run again, the last run is the one that counts.
    let last = works.kept.iter().rev().find_map(|work| if let Work::Run(run) = work { Some(run) } else { None });
    if let Some(run) = last {
        ran(&mut span, run);
    }
    if works.beyond > 0 {
        span.set(&names::WORKS_DROPPED, works.beyond as i64);
    }
}

/// Where the time went, which adds up to the span's own.
fn stages(span: &mut Drawn<'_>, spent: &Spent) {
    spent.tell::<1>(|stage, nanos| {
        let name = &names::STAGES[stage.map_or(Stage::COUNT, |stage| stage as usize)];
        span.nanos(name, nanos);
    });
}

fn ran(span: &mut Drawn<'_>, run: &Run) {
    span.set(&names::BATCH_SPAN, Value::Id(run.joint.span_id())).set(&names::BATCH_SIZE, run.composition.rows as i64);
    span.set(&names::DEVICE, &*run.device);
}

/// Stages are drawn in which a call can wait for something else than the CPU. Of a hop its attempts say more.
fn waits(mark: &Mark, calls_others: bool) -> bool {
    match mark.stage {
        _ if mark.is_behind => false,
        Some(Stage::Receive | Stage::Pick | Stage::Queue) => true,
        Some(Stage::Execute | Stage::Return) => !calls_others,
        _ => false,
    }
}

fn stage(canvas: &mut Canvas<'_>, mark: &Mark, works: &[Work]) {
    let (own, started) = (canvas.own(), canvas.ended.timeline.started());
    let run = match mark.stage {
        Some(Stage::Execute) => works.iter().find_map(|work| run_at(work, started + Duration::from_nanos(mark.until))),
        _ => None,
    };
    if run.is_some_and(|run| run.joint.home_for(own) == own) {
        // The batch itself is drawn there.
        return;
    }
    let times = (canvas.after(mark.since), canvas.after(mark.until));
    let mut span = canvas.stretch(mark.stage.map_or("other", Stage::name), own.span_id, times);
    if let Some(run) = run {
        let home = run.joint.home_for(own);
        let batch = TraceContext { span_id: run.joint.span_id(), ..home };
        span.set(&names::BATCH_SPAN, Value::Id(run.joint.span_id())).link(&[batch]);
    }
}

/// The run that ended there: calls are stamped with the very reading of the clock that is noted of their run.
fn run_at(work: &Work, end: Instant) -> Option<&Run> {
    match work {
        Work::Run(run) if end.max(run.executed) - end.min(run.executed) < Duration::from_micros(1) => Some(run),
        _ => None,
    }
}
