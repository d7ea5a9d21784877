//! A batch while it runs: how it begins, and how its answer becomes those of its calls.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::batcher::{Shared, State, now};
use super::closing::Taken;
use super::lane::Waiting;
use super::merge;
use super::shape::Shaper;
use crate::cost::{Cost, Work};
use crate::error::{Error, Kind};
use crate::infer::{Batch, Composition, InferResponse, Interest, Outcome, Place, Stage, Timeline};

/// The batch of these calls; `None` where they cannot be put together after all.
pub(super) fn batch<P: Place>(shared: &Arc<Shared<P>>, mut taken: Taken) -> Option<Batch> {
    let composition = merge::composition(&taken);
    if merge::is_plain(&taken)
        && let Some(waiting) = taken.members.pop()
    {
        return Some(alone(shared, waiting, taken.work, composition));
    }
    let axis = shared.shaper.axis.as_ref().expect("only calls that can be merged come together");
    let request = match merge::merged(&shared.shaper, axis, &taken) {
        Ok(request) => request,
        Err(error) => {
            shared.state().in_flight -= 1;
            shared.each_alone(taken.members, error);
            return None;
        }
    };
    let interest = match &taken.members[..] {
        // It may have been merged once before.
        [only] => only.interest.clone(),
        all => Interest::joined(all.iter().map(|waiting| &waiting.interest)),
    };
    let queue = Arc::downgrade(shared);
    Some(Batch::new(request, interest, composition, move |outcome| apart(&queue, taken, outcome)))
}

fn alone<P: Place>(shared: &Arc<Shared<P>>, waiting: Waiting, work: Work, composition: Composition) -> Batch {
    let queue = Arc::downgrade(shared);
    let Waiting { request, reply, interest, arrived, .. } = waiting;
    let timelines: SmallVec<[Timeline; 1]> = request.members.iter().map(|member| member.timeline.clone()).collect();
    Batch::new(request, interest, composition, move |mut outcome| {
        if let Some(shared) = queue.upgrade() {
            shared.ended(work, &mut outcome, [arrived].into_iter());
        }
        let now = now();
        timelines.iter().for_each(|timeline| timeline.end(Stage::Split, now));
        reply.send(outcome);
    })
}

/// Gives each call of a batch its part of the answer.
fn apart<P: Place>(queue: &Weak<Shared<P>>, taken: Taken, mut outcome: Outcome) {
    let Some(shared) = queue.upgrade() else {
        let gone = || Error::new(Kind::Draining, "the model was unloaded");
        return taken.members.into_iter().for_each(|waiting| waiting.reply.send(Err(gone())));
    };
    shared.ended(taken.work, &mut outcome, taken.members.iter().map(|waiting| waiting.arrived));
    let axis = shared.shaper.axis.as_ref().expect("only calls that can be merged come together");
    let split = outcome.and_then(|response| {
        merge::split(&shared.shaper, axis, &taken, &response)
            .inspect_err(|error| shared.merge_no_more(&response, error))
    });
    match split {
        Ok(parts) => {
            let now = now();
            for (waiting, part) in taken.members.into_iter().zip(parts) {
                waiting.request.members.iter().for_each(|member| member.timeline.end(Stage::Split, now));
                waiting.reply.send(Ok(Box::new(part)));
            }
        }
        Err(error) if is_of_one_call(&error) => {
            shared.each_alone(taken.members, error);
            shared.drive();
        }
        Err(error) => taken.members.into_iter().for_each(|waiting| waiting.reply.send(Err(error.clone()))),
    }
}

/// Whether one call may have failed the others with it: then each is run alone, and only that one fails.
fn is_of_one_call(error: &Error) -> bool {
    matches!(error.kind(), Kind::Invalid | Kind::Engine)
}

impl<P: Place> Shared<P> {
    /// Lets calls that failed together wait again, each to be run alone; one that failed alone is answered.
    fn each_alone(&self, members: SmallVec<[Waiting; 1]>, error: Error) {
        if members.len() > 1 {
            let abandoned = self.state().again(&self.shaper, members);
            return drop(abandoned);
        }
        members.into_iter().for_each(|waiting| waiting.reply.send(Err(error.clone())));
    }

    /// A model whose answers cannot be cut apart is served call by call from here on: to try again and again would run
    /// everything twice.
    fn merge_no_more(&self, response: &InferResponse, error: &Error) {
        if !self.unmergeable.swap(true, Relaxed) {
            let (model, version) = (&response.model, response.version.map(tracing::field::display));
            tracing::error!(%model, version, %error, "calls are merged no more");
        }
    }

    /// Learns from a run that is over, and tells its calls how busy the place is.
    fn ended(&self, work: Work, outcome: &mut Outcome, arrived: impl Iterator<Item = Instant>) {
        let now = now();
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        let Ok(response) = outcome else { return };
        let run = response.execution.executed - response.execution.merged;
        self.last_run.store(run.as_nanos() as u64, Relaxed);
        state.queue.cost().learn(work, run, now);
        let state = &mut *state;
        if let Some(tuner) = &mut state.tuner {
            let cost = state.queue.cost();
            tuner.ran(work.rows, arrived, now, |more| saved(cost, work, more));
            self.gauges.delay(tuner.delay());
        }
        let wait = state.wait();
        self.gauges.wait(wait);
        let load = &mut response.execution.load;
        (load.waiting, load.wait) = (state.queue.rows() as u32, wait);
        (load.run, load.row) = line(state.queue.cost(), work);
    }
}

impl<P: Place> State<P> {
    /// Lets calls that could not be run together wait again, each to be run alone; but those that nobody waits for.
    fn again(&mut self, shaper: &Shaper, members: SmallVec<[Waiting; 1]>) -> Vec<Waiting> {
        self.put_back = true;
        let (abandoned, members): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|waiting| waiting.interest.is_gone());
        for mut waiting in members {
            let deadline = waiting.deadline;
            (waiting.merges, waiting.due, waiting.order) = (false, deadline, deadline);
            let alike = shaper.measure(&mut waiting.request).alike.alone();
            self.queue.push(alike, waiting);
        }
        abandoned
    }
}

/// What runs of that shape are predicted to take, and each row in them.
fn line(cost: &Cost, work: Work) -> (Duration, Duration) {
    let by_row = work.elements / work.rows.max(1);
    let of = |rows: usize| cost.predict(Work { rows, elements: by_row * rows, ..work }).unwrap_or_default();
    let (run, with_row) = (of(0), of(1));
    (run, with_row.saturating_sub(run))
}

/// Which part of the time by row a run would save that had `more` rows.
fn saved(cost: &Cost, work: Work, more: f64) -> f64 {
    let rows = work.rows.max(1);
    let larger = rows + more.ceil() as usize;
    let by_row = |rows: usize| {
        let elements = work.elements / work.rows.max(1) * rows;
        cost.predict(Work { rows, elements, ..work }).map(|time| time.as_secs_f64() / rows as f64)
    };
    match (by_row(rows), by_row(larger)) {
        (Some(now), Some(then)) if now > 0.0 => 1.0 - then / now,
        _ => 0.0,
    }
}
