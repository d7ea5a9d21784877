//! The call's own span, and the stages in which it waited.

use std::time::{Duration, Instant};

use opentelemetry::trace::SpanKind;

use super::canvas::{Canvas, Drawn, Place};
use super::{Ended, batch, hop};
use crate::infer::{Joint, Mark, Notes, Run, Spent, Stage, TraceContext, Work};
use crate::observe::trace::names;

/// Draws all of a call.
pub(super) fn draw(canvas: &mut Canvas<'_>) {
    let ended = canvas.ended;
    let Some(notes) = &ended.trace.notes else { return };
    let (works, unkept) = notes.works();
    let marks = marks(ended, &works);
    let mut spent = Spent::default();
    marks.iter().for_each(|mark| spent.add(mark.stage, mark.until - mark.since));
    server(canvas, notes, &spent, &works, unkept);
    let calls_others = works.iter().any(|work| matches!(work, Work::Hop(_)));
    for mark in marks.iter().filter(|mark| waits(mark, calls_others)) {
        stage(canvas, mark, &works);
    }
    for work in &works {
        match work {
            Work::Run(run) => batch::draw(canvas, run),
            Work::Hop(hop) => hop::draw(canvas, hop),
        }
    }
}

/// What all of the call's time was spent on. Of one that failed, or whose caller left, what comes after the last stamp was
/// spent in the stage that it did not get through.
fn marks(ended: &Ended, works: &[Work]) -> Vec<Mark> {
    let mut marks: Vec<Mark> = ended.timeline.marks_until(ended.at).collect();
    let since = marks.last().map_or(Duration::ZERO, |mark| mark.until);
    let until = ended.at.saturating_duration_since(ended.timeline.started());
    let last = marks.last().and_then(|mark| mark.stage);
    let stage = if ended.status.failure.is_some() { Some(interrupted(last, works)) } else { None };
    if since < until {
        marks.push(Mark { stage, is_behind: false, since, until });
    }
    marks
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

fn server(canvas: &mut Canvas<'_>, notes: &Notes, spent: &Spent, works: &[Work], unkept: usize) {
    let (ended, own) = (canvas.ended, canvas.own());
    let place = Place { trace_id: own.trace_id, parent: notes.parent() };
    let times = (ended.timeline.started(), ended.at);
    let mut span = canvas.span(ended.method, SpanKind::Server, own.span_id, place, times);
    if notes.parent().is_some() {
        span.is_called_from_outside();
    }
    span.set(names::RPC_SYSTEM, "grpc").set(names::RPC_METHOD, ended.method).set(names::RPC_STATUS, ended.status.code);
    span.set(names::KEPT, ended.kept.name());
    if names::is_server_error(ended.status.code) {
        let message = ended.status.failure.as_ref().map_or("", |failure| failure.message());
        span.fail(ended.status.code, message);
    }
    if let Some(model) = notes.model() {
        span.set(names::MODEL_NAME, model.name.as_str().to_owned());
    }
    span.set_some(names::MODEL_VERSION, notes.version().map(|version| version.to_string()));
    stages(&mut span, spent);
    // Of one that was run again, the last run is the one that counts.
    let last = works.iter().rev().find_map(|work| if let Work::Run(run) = work { Some(run) } else { None });
    if let Some(run) = last {
        ran(&mut span, run, spent);
    }
    if unkept > 0 {
        span.set(names::WORKS_DROPPED, unkept as i64);
    }
}

/// Where the time went, which adds up to the span's own.
fn stages(span: &mut Drawn<'_>, spent: &Spent) {
    let all = Stage::ALL.into_iter().zip(names::STAGES).map(|(stage, name)| (spent.of(stage), name));
    for (time, name) in all.filter(|(time, _)| !time.is_zero()) {
        span.seconds(name, time);
    }
    span.seconds(names::STAGES[Stage::COUNT], spent.other());
}

fn ran(span: &mut Drawn<'_>, run: &Run, spent: &Spent) {
    span.seconds(names::QUEUE_DURATION, spent.of(Stage::Queue));
    span.set(names::BATCH_SPAN, id_of(&run.joint)).set(names::BATCH_SIZE, run.composition.rows as i64);
    span.set(names::DEVICE, run.device.to_string());
}

pub(super) fn id_of(joint: &Joint) -> String {
    format!("{:016x}", joint.span_id())
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
        Some(Stage::Execute) => works.iter().find_map(|work| run_at(work, started + mark.until)),
        _ => None,
    };
    if run.is_some_and(|run| run.joint.home_for(own) == own) {
        // The batch itself is drawn there.
        return;
    }
    let times = (started + mark.since, started + mark.until);
    let mut span = canvas.stretch(mark.stage.map_or("other", Stage::name), own.span_id, times);
    if let Some(run) = run {
        let home = run.joint.home_for(own);
        let batch = TraceContext { span_id: run.joint.span_id(), ..home };
        span.set(names::BATCH_SPAN, id_of(&run.joint)).link(&[batch]);
    }
}

/// The run that ended there: calls are stamped with the very reading of the clock that is noted of their run.
fn run_at(work: &Work, end: Instant) -> Option<&Run> {
    match work {
        Work::Run(run) if end.max(run.executed) - end.min(run.executed) < Duration::from_micros(1) => Some(run),
        _ => None,
    }
}
