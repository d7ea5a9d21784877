//! Another endpoint is asked beside the first: where that is slow, and where it seems dead. The first good answer counts,
//! and the other call is cancelled by being dropped. Never for a model that is not pure.

use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use tokio::time::sleep_until;

use super::{Pool, Tried};
use crate::balance::attempt::{Answer, Outgoing};
use crate::balance::endpoint::Failed;
use crate::balance::member::Sent;
use crate::balance::now;
use crate::balance::retry::{Next, Ran};
use crate::error::{Error, Kind};
use crate::infer::Why;

/// An attempt that is under way.
type Running<'a> = Pin<&'a mut (dyn Future<Output = Answer> + Send)>;

impl Pool {
    /// One attempt, and others beside it where that may be and is of use.
    pub(super) fn attempt<'a>(
        &'a self,
        call: &'a Outgoing,
        sent: Sent,
        number: &'a mut u32,
        tried: &'a mut Tried,
    ) -> impl Future<Output = Answer> + Send {
        let traits = **self.tactics.traits.load();
        if !traits.pure {
            return Either::Left(call.send(sent, *number));
        }
        let after = if traits.hedged && call.hedges { self.hedge_after() } else { None };
        // Boxed, so that the calls of other models are not larger for it.
        Either::Right(match after {
            None => self.attempt_watched(call, sent, number, tried).boxed(),
            Some(after) => self.attempt_hedged(call, sent, after, number, tried).boxed(),
        })
    }

    /// One attempt, and another beside it once its endpoint seems dead.
    async fn attempt_watched(&self, call: &Outgoing, sent: Sent, number: &mut u32, tried: &mut Tried) -> Answer {
        let endpoint = sent.member.endpoint.clone();
        let first = pin!(call.send(sent, *number));
        let suspected = pin!(endpoint.suspected());
        match select(first, suspected).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), first)) => self.ask_instead(call, first, number, tried).await,
        }
    }

    /// The same, and another beside it also where the first is slow.
    async fn attempt_hedged(
        &self,
        call: &Outgoing,
        sent: Sent,
        after: Duration,
        number: &mut u32,
        tried: &mut Tried,
    ) -> Answer {
        let endpoint = sent.member.endpoint.clone();
        let first = pin!(call.send(sent, *number));
        let suspected = pin!(endpoint.suspected());
        let slow = pin!(sleep_until((now() + after).into()));
        let (first, suspected) = match select(first, select(suspected, slow)).await {
            Either::Left((answer, _)) => return answer,
            Either::Right((Either::Left(_), first)) => return self.ask_instead(call, first, number, tried).await,
            Either::Right((Either::Right(((), suspected)), first)) => (first, suspected),
        };
        let now = now();
        let (left, predicted) = (call.left(now), self.predicted(call.rows, now));
        if self.tactics.hedging.may_send(left, predicted, &self.tactics.budget, now)
            && let Ok(other) = self.pick(tried, call.rows)
        {
            return self.ask_beside(call, first, other.because(Why::Hedge), number, tried).await;
        }
        match select(first, suspected).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), first)) => self.ask_instead(call, first, number, tried).await,
        }
    }

    /// What becomes of a call whose endpoint seems dead: what would if it had failed there, but that its answer is taken
    /// if it comes after all.
    fn ask_instead<'a>(
        &'a self,
        call: &'a Outgoing,
        first: Running<'a>,
        number: &'a mut u32,
        tried: &'a mut Tried,
    ) -> BoxFuture<'a, Answer> {
        let lost = Failed { error: Error::new(Kind::BackendLost, "the backend does not answer"), ran: Ran::Maybe };
        let other = match self.next(&lost, call, *number) {
            Next::Again { .. } => self.pick(tried, call.rows).ok(),
            Next::GiveUp(_) => None,
        };
        match other {
            Some(other) => self.ask_beside(call, first, other.because(Why::Silence), number, tried),
            None => Box::pin(first),
        }
    }

    fn ask_beside<'a>(
        &'a self,
        call: &'a Outgoing,
        first: Running<'a>,
        other: Sent,
        number: &'a mut u32,
        tried: &'a mut Tried,
    ) -> BoxFuture<'a, Answer> {
        tried.push(other.member.endpoint.clone());
        *number += 1;
        self.tactics.extra.hedges.fetch_add(1, Relaxed);
        Box::pin(async move {
            let second = pin!(self.attempt_watched(call, other, number, tried));
            match select(first, second).await {
                Either::Left((Ok(answer), _)) | Either::Right((Ok(answer), _)) => Ok(answer),
                Either::Left((Err(_), second)) => second.await,
                Either::Right((Err(_), first)) => first.await,
            }
        })
    }

    fn hedge_after(&self) -> Option<Duration> {
        let part = self.busy() / self.members.load().len().max(1) as f64;
        self.tactics.hedging.after(true, part, now())
    }
}
