//! The endpoints of one model, bound early: a call goes out at once to the endpoint that is picked for it, and what goes
//! wrong there is hidden where that is safe.

mod beside;
mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::select_all;
use http::HeaderValue;
use smallvec::SmallVec;
use tokio::time::sleep;

use super::attempt::{Answered, Outgoing, stamp};
use super::bell::Bell;
use super::breaker::Changes;
use super::budget::RetryBudget;
use super::ejection::{Standing, nobody_ready, relieve};
use super::endpoint::{Endpoint, Failed};
use super::hedge::Hedging;
use super::member::{Member, Sent};
use super::now;
use super::pick::{Candidate, Picker};
use super::retry::{Attempt, Next, Ran, Speaks, decide};
use crate::error::{Error, Kind, Result};
use crate::infer::{InferRequest, InferResponse, LoadReport, Member as Caller, ModelName, Stage, Why};

/// Who can be called for a model. Endpoints that are leaving are among them only where no other is.
#[derive(Default)]
pub struct Members {
    /// Those in the gateway's own zone; all, where it has none.
    pub near: Vec<Arc<Member>>,
    /// The others.
    pub far: Vec<Arc<Member>>,
}

impl Members {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.near.iter().chain(&self.far)
    }

    /// All of them, and whether each is in another zone.
    pub(super) fn by_zone(&self) -> impl Iterator<Item = (&Arc<Member>, bool)> {
        self.near.iter().map(|near| (near, false)).chain(self.far.iter().map(|far| (far, true)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.near.len() + self.far.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is known of a model that decides how its calls may be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits {
    /// Whether running a call twice is as good as running it once.
    pub pure: bool,
    /// Whether slow calls are asked of a second endpoint.
    pub hedged: bool,
}

/// What the pools of one model share, whatever version they lead to.
pub struct Tactics {
    /// The model.
    pub name: ModelName,
    /// Picks endpoints.
    pub picker: Picker,
    /// What retries and hedges live on.
    pub budget: RetryBudget,
    /// When a second endpoint is asked.
    pub hedging: Hedging,
    /// What is known of the model.
    pub traits: ArcSwap<Traits>,
    /// The largest answer.
    pub message_size: usize,
    /// Who this gateway is to its backends.
    pub origin: HeaderValue,
    /// Rung with each change at the model's endpoints.
    pub(super) bell: Arc<Bell>,
    /// From when the times of its members are counted.
    pub zero: Instant,
    /// What was tried again, and why.
    pub extra: Extra,
    /// How often breakers of its members have changed.
    pub changes: Arc<Changes>,
    /// Calls came since its members were last looked after, or some of them must be again.
    pub astir: AtomicBool,
}

impl Tactics {
    /// Has the model's members looked after.
    pub(super) fn stir(&self) {
        // Most calls find it so, and then every core keeps its copy.
        if !self.astir.load(Relaxed) {
            self.astir.store(true, Relaxed);
        }
    }
}

/// Attempts beyond the first of each call.
#[derive(Debug, Default)]
pub struct Extra {
    /// Of calls whose attempt failed.
    pub retries: AtomicU64,
    /// Of calls whose attempt was slow, or was at an endpoint that seemed dead.
    pub hedges: AtomicU64,
}

/// Calls the endpoints of one model.
pub struct Pool {
    members: ArcSwap<Members>,
    tactics: Arc<Tactics>,
    /// A part of the members that had calls in flight of late, for all: how busy the fleet is.
    busy: AtomicU32,
    /// A member that is due to be tried again.
    due: arc_swap::ArcSwapOption<Arc<Member>>,
    /// Whether there was one at the last look. Hardly ever, and so most calls look no further.
    is_due: AtomicBool,
    /// How busy all of its members are together, as of the last look.
    report: ArcSwap<LoadReport>,
}

/// Endpoints at which a call has failed.
pub(super) type Tried = SmallVec<[Arc<Endpoint>; 2]>;

/// A call waits so often for endpoints whose connections are being replaced, each time for the first of them.
const RENEWALS: usize = 3;

/// So much of what is known of how busy the fleet is comes from the last look.
const LOOK: f64 = 0.3;

/// A fleet that is busy with less than this part of an endpoint is idle.
const IDLE: f64 = 0.01;

impl Pool {
    /// A pool of nobody yet.
    pub fn new(tactics: Arc<Tactics>) -> Pool {
        let (busy, due, is_due, report) = Default::default();
        Pool { members: ArcSwap::default(), tactics, busy, due, is_due, report }
    }

    /// Who is in it now.
    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// Exchanges its members. Calls in flight finish where they are.
    pub fn exchange(&self, members: impl Into<Arc<Members>>) {
        self.members.store(members.into());
        self.tactics.bell.ring();
    }

    /// What the pools of its model share.
    pub fn tactics(&self) -> &Arc<Tactics> {
        &self.tactics
    }

    /// How long a call that comes now is predicted to wait for an endpoint, as of the last look after the members.
    pub fn predicted_wait(&self) -> Duration {
        self.report.load().wait
    }

    /// Whether a call would find an endpoint now.
    pub fn is_ready(&self) -> bool {
        let now = now();
        self.members.load().iter().any(|member| member.admits(now))
    }

    /// Looks after the breakers of its members; to be called some ten times a second. Says who should get calls although
    /// it is ejected: members are in several pools, and one that needs them is enough.
    pub fn watch(&self, now: Instant) -> Vec<Arc<Member>> {
        let members = self.members.load();
        let usual = self.tactics.hedging.after(true, 0.0, now);
        members.iter().for_each(|member| member.breaker.watch(usual, now));
        let all: Vec<&Arc<Member>> = members.iter().collect();
        let standings: Vec<Standing> = all.iter().map(|member| member.standing(now)).collect();
        let working = all.iter().filter(|member| member.load().calls() > 0).count() as f64;
        let busy = self.busy() + LOOK * (working - self.busy());
        self.busy.store((busy as f32).to_bits(), Relaxed);
        let relief = relieve(&standings, busy);
        if relief.hurry {
            all.iter().for_each(|member| member.breaker.hurry(now));
        }
        let is_due = |member: &&&Arc<Member>| {
            member.endpoint.is_reachable() && member.breaker.admission(now) == super::Admission::Probe
        };
        let due = all.iter().find(is_due).map(|member| Arc::new(Arc::clone(member)));
        self.is_due.store(due.is_some(), Relaxed);
        self.due.store(due);
        self.report.store(Arc::new(report::of(&members, now)));
        relief.spared.into_iter().map(|at| all[at].clone()).collect()
    }

    /// Whether no endpoint was busy of late.
    pub(super) fn is_idle(&self) -> bool {
        self.busy() < IDLE
    }

    /// Endpoints that were busy of late, on average.
    fn busy(&self) -> f64 {
        f64::from(f32::from_bits(self.busy.load(Relaxed)))
    }

    /// Answers one call. Of the request nothing is kept that its outgoing form has.
    pub fn answer(self: Arc<Self>, request: InferRequest) -> impl Future<Output = Result<InferResponse>> + Send {
        let call = Outgoing::of(&request, 1, &self.tactics, self.tactics.picker.policy().name());
        let callers = request.members;
        async move {
            let began = stamp(&callers, Stage::Admit);
            self.carry(&callers, &call, &mut None, began).await
        }
    }

    /// Sends a call where it was let in, or where it is picked to go, and elsewhere where that fails and may be hidden.
    /// Its last stamp was at `began`.
    pub(super) async fn carry(
        &self,
        callers: &[Caller],
        call: &Outgoing,
        first: &mut Option<Sent>,
        began: Instant,
    ) -> Result<InferResponse> {
        self.tactics.stir();
        self.tactics.budget.deposit(began);
        let (mut tried, mut number) = (Tried::new(), 1);
        let mut last: Option<Failed> = None;
        loop {
            let placed = match first.take() {
                Some(sent) => Ok(sent),
                None => self.place(&tried, call.rows).await,
            };
            let why = last.as_ref().map_or(Why::First, |last| Why::Retry { never_ran: last.ran == Ran::Never });
            let sent = match (placed, last) {
                (Ok(sent), _) => sent.because(why),
                // That nobody else is there says less than what the one who was asked said.
                (Err(_), Some(failed)) => return Err(self.final_of(failed, number - 1)),
                (Err(nobody), None) => return Err(nobody),
            };
            stamp(callers, Stage::Pick);
            tried.push(sent.member.endpoint.clone());
            let first = number;
            let failed = match self.attempt(call, sent, &mut number, &mut tried).await {
                Ok(answered) => return Ok(self.answered(answered, callers, first, began)),
                Err(failed) => failed,
            };
            stamp(callers, Stage::Execute);
            match self.next(&failed, call, number) {
                Next::Again { after } if after.is_zero() => {}
                Next::Again { after } => Box::pin(sleep(after)).await,
                Next::GiveUp(_) => return Err(self.final_of(failed, number)),
            }
            last = Some(failed);
            number += 1;
            self.tactics.extra.retries.fetch_add(1, Relaxed);
        }
    }

    fn answered(&self, answered: Answered, callers: &[Caller], first: u32, began: Instant) -> InferResponse {
        let now = answered.stamp(callers, first);
        let mut response = answered.response;
        self.tactics.hedging.answered(now.saturating_duration_since(began), now);
        report::speak_for_all(&mut response.execution.load, &self.report.load());
        response
    }

    /// The failure of a call that was tried so often. More than once, whoever is in front need not do the same.
    fn final_of(&self, failed: Failed, attempts: u32) -> Error {
        if attempts > 1 { failed.error.never_again() } else { failed.error }
    }

    fn next(&self, failed: &Failed, call: &Outgoing, number: u32) -> Next {
        let now = now();
        let attempt = Attempt {
            number,
            ran: failed.ran,
            pure: self.tactics.traits.load().pure,
            left: call.left(now),
            predicted: self.predicted(call.rows, now),
            // Only a gateway says that nobody could take a call.
            answer: if failed.error.kind() == Kind::NoBackend && failed.ran == Ran::Never {
                Speaks::ForAll
            } else {
                Speaks::ForItself
            },
            earlier: call.earlier,
        };
        decide(&failed.error, &attempt, &self.tactics.budget, now)
    }

    /// When the answer of a call sent now would be here, at best.
    fn predicted(&self, rows: u32, now: Instant) -> Duration {
        let members = self.members.load();
        let open = members.iter().filter(|member| member.admits(now));
        // The first few tell enough: it only bounds what is tried in vain.
        open.take(8).map(|member| member.load().predicted(rows, now)).min().unwrap_or_default()
    }

    /// An endpoint that takes the call. Where there is none but one whose connection is being replaced, that is waited for.
    async fn place(&self, tried: &Tried, rows: u32) -> Result<Sent> {
        match self.pick(tried, rows) {
            Ok(sent) => Ok(sent),
            // Boxed, as is all that few calls need, so that the future of each stays small.
            Err(_) => Box::pin(self.place_renewed(tried, rows)).await,
        }
    }

    async fn place_renewed(&self, tried: &Tried, rows: u32) -> Result<Sent> {
        for _ in 0..RENEWALS {
            let members = self.members.load_full();
            let is_tried = |member: &Arc<Member>| tried.iter().any(|endpoint| Arc::ptr_eq(endpoint, &member.endpoint));
            let renewing = members.iter().filter(|member| !is_tried(member) && member.endpoint.is_renewing());
            let renewals: Vec<_> = renewing.map(|member| Box::pin(member.endpoint.renewed())).collect();
            if renewals.is_empty() {
                break;
            }
            select_all(renewals).await;
            if let Ok(sent) = self.pick(tried, rows) {
                return Ok(sent);
            }
        }
        // A connection that has come up since the last look is not being replaced any more.
        self.pick(tried, rows)
    }

    /// An endpoint that takes the call, other than those that were tried.
    pub(super) fn pick(&self, tried: &Tried, rows: u32) -> Result<Sent> {
        let now = now();
        if let Some(sent) = self.probe(tried, rows, now) {
            return Ok(sent);
        }
        let members = self.members.load();
        let is_tried = |member: &Arc<Member>| tried.iter().any(|endpoint| Arc::ptr_eq(endpoint, &member.endpoint));
        let picker = &self.tactics.picker;
        fastrand_with(|rng| {
            // Between the pick and the way in another call may have become the probe; then there is another pick.
            for _ in 0..2 {
                let picked = picker.pick(&members.near, &members.far, is_tried, rows, now, rng);
                let Some(member) = picked else { break };
                if let Some(sent) = member.enter(rows, now) {
                    return Ok(sent);
                }
            }
            Err(self.nobody(&members, now))
        })
    }

    /// Sends a call the way of an endpoint that is due to be tried again, where there is one.
    pub(super) fn probe(&self, tried: &Tried, rows: u32, now: Instant) -> Option<Sent> {
        if !self.is_due.load(Relaxed) {
            return None;
        }
        self.due.load().as_ref()?;
        let member = self.due.swap(None)?;
        let is_tried = tried.iter().any(|endpoint| Arc::ptr_eq(endpoint, &member.endpoint));
        // Since it was found to be due it may have been taken away.
        let is_member = self.members.load().iter().any(|known| Arc::ptr_eq(known, &member));
        if is_tried || !is_member { None } else { member.enter(rows, now) }
    }

    fn nobody(&self, members: &Members, now: Instant) -> Error {
        let standings: Vec<Standing> = members.iter().map(|member| member.standing(now)).collect();
        let opens = members.iter().filter(|member| member.endpoint.is_reachable());
        nobody_ready(&standings, opens.filter_map(|member| member.breaker.opens_in(now)).min())
    }
}

/// The thread's own source of randomness.
fn fastrand_with<T>(decide: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
    let mut rng = fastrand::Rng::with_seed(fastrand::u64(..));
    decide(&mut rng)
}
