//! A batch on its way: one message to where its slot is, given up once nobody waits for it.

use std::sync::Arc;

use super::rows_of;
use crate::balance::attempt::{Outgoing, stamp};
use crate::balance::member::Sent;
use crate::balance::pool::Pool;
use crate::error::{Error, Kind};
use crate::infer::{Batch, Composition, InferRequest, Outcome, Stage};

/// Sends a batch where it was let in, elsewhere where that fails and may be hidden, and answers it.
pub(super) async fn send(pool: Arc<Pool>, sent: Option<Sent>, batch: Batch) {
    let interest = batch.interest.clone();
    let outcome = tokio::select! {
        biased;
        // What is left of the other branch is dropped, which cancels the batch where it runs.
        () = interest.gone() => Err(Error::new(Kind::Cancelled, "nobody waits for the batch any more")),
        outcome = answered(&pool, sent, &batch.request, batch.composition) => outcome,
    };
    batch.answer(outcome);
}

async fn answered(pool: &Pool, mut sent: Option<Sent>, request: &InferRequest, composition: Composition) -> Outcome {
    let began = stamp(&request.members, Stage::Queue);
    let rows = rows_of(composition.rows);
    let mut call = Outgoing::of(request, rows, pool.tactics(), "plan");
    // A second one of a whole batch would take the slot of another.
    call.hedges = false;
    let mut response = pool.carry(&request.members, &call, &mut sent, began).await?;
    response.execution.composition = composition;
    response.execution.members = request.members.len() as u32;
    Ok(Box::new(response))
}
