//! Distributed traces: which calls are kept, and their spans on the way to a collector.
//!
//! A call is noted down while it is under way (`infer::Notes`), which costs a few stores; whether it is kept is decided for good
//! when it is over, and only then spans are made of the notes, on a task that no call waits for. Where there is no collector
//! nothing of this is made, and no id is drawn. RPCs that are no calls (`question`) are followed beside that.

mod counts;
mod environment;
mod export;
mod names;
mod otlp;
mod pace;
mod question;
mod sampler;
mod spans;

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector as Collects;

pub use counts::{Counts, Dropped};
pub use environment::Environment;
pub use pace::Pace;
pub use question::{Asked, Errand, Manner, Question, Rpc};
pub use sampler::{Caller, Sampler};
pub use spans::Status;

use crate::error::{Blame, Error, Kind};
use crate::infer::{Timeline, Trace, TraceContext};
use crate::observe::Allowance;
use crate::observe::otlp::{Collector, Exporter, Signal};
use export::Queue;
use pace::Paced;
use sampler::{Decision, KEPT_LATE};
use spans::{Ended, Kept, OfCall};

/// Which calls are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Of those that come.
    pub sampler: Sampler,
    /// Calls that take as long are kept whatever was decided when they came, where that was decided here.
    pub slow: Duration,
    /// Calls that may wait to be exported.
    pub queue: usize,
}

/// Follows calls. Clones are handles to the same; by default it is off.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Inner>>);

struct Inner {
    rules: Rules,
    /// How many are recorded now, in the place of what the rules say.
    paced: Paced,
    late: Allowance,
    queue: Queue,
}

impl Tracer {
    /// Exports what is kept by `rules` to `collector`. Runs on the runtime that it is called in.
    ///
    /// # Errors
    /// What is wrong with the settings of the collector.
    pub fn start(rules: Rules, collector: &Collector) -> Result<Tracer, String> {
        let queue = Queue::start(Exporter::to(collector, Signal::Traces)?, collector.resource.clone(), rules.queue);
        let paced = Paced::new(Pace::of(&rules));
        Ok(Tracer(Some(Arc::new(Inner { rules, paced, late: Allowance::new(KEPT_LATE, Instant::now()), queue }))))
    }

    /// Whether calls are followed.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// How many calls are recorded now, where there is a collector.
    pub fn pace(&self) -> Option<Pace> {
        self.0.as_ref().map(|inner| inner.paced.get())
    }

    /// How many the process was started to record.
    pub fn first_pace(&self) -> Option<Pace> {
        self.0.as_ref().map(|inner| Pace::of(&inner.rules))
    }

    /// From now on so many are.
    pub fn set_pace(&self, pace: Pace) {
        self.0.iter().for_each(|inner| inner.paced.set(pace));
    }

    /// The span of a call that comes, of which notes are to be taken; none where it is not followed, and what its caller said
    /// is passed on.
    pub fn begin(&self, caller: Option<&Caller>) -> Option<TraceContext> {
        let inner = self.0.as_ref()?;
        let Pace { is_on, ratio } = inner.paced.get();
        if !is_on {
            return None;
        }
        // Of its own, since asking for the thread's costs more than drawing.
        let mut random = fastrand::Rng::new();
        let decision = Sampler { ratio, ..inner.rules.sampler }.decide(caller, random.f64());
        if decision == Decision::Leave {
            return None;
        }
        let trace_id = caller.map_or_else(|| random.u128(..).max(1), |caller| caller.context.trace_id);
        Some(TraceContext { trace_id, span_id: random.u64(..).max(1), sampled: decision == Decision::Record })
    }

    /// Follows a call to its end, where notes are taken of it.
    pub fn follow(&self, trace: Option<&Arc<Trace>>, method: &'static str, timeline: &Timeline) -> Followed {
        let noted = trace.filter(|trace| trace.notes.is_some());
        let followed = self.0.as_ref().zip(noted).map(|(inner, trace)| {
            let (tracer, trace, timeline) = (inner.clone(), trace.clone(), timeline.clone());
            Following { tracer, trace, method, timeline }
        });
        Followed(followed)
    }

    /// Exports what waits; to be called when no calls come any more. What a collector does not take within that time is
    /// dropped.
    pub async fn flush(&self, within: Duration) {
        if let Some(inner) = &self.0 {
            inner.queue.flush(within).await;
        }
    }

    /// What became of the calls that were kept.
    pub fn counts(&self) -> Option<&Arc<Counts>> {
        self.0.as_ref().map(|inner| inner.queue.counts())
    }

    /// The same as metrics.
    pub fn metrics(&self) -> Option<impl Collects + use<>> {
        self.counts().map(|counts| counts::Telling(counts.clone()))
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tracer").field(&self.is_on()).finish()
    }
}

/// A call that is followed. Dropped without an end, its caller has left.
pub struct Followed(Option<Following>);

struct Following {
    tracer: Arc<Inner>,
    trace: Arc<Trace>,
    method: &'static str,
    timeline: Timeline,
}

impl Followed {
    /// Whether anybody wants to know how the call ends.
    pub fn is_noted(&self) -> bool {
        self.0.is_some()
    }

    /// The call has ended so at `now`. The id of its trace, where it is going to be exported.
    pub fn end(mut self, now: Instant, status: impl FnOnce() -> Status) -> Option<u128> {
        self.0.take()?.end(now, status())
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(following) = self.0.take() {
            let failure = Some(Error::new(Kind::Cancelled, "the caller left"));
            following.end(Instant::now(), Status { code: "CANCELLED", failure });
        }
    }
}

impl Following {
    fn end(self, at: Instant, status: Status) -> Option<u128> {
        let kept = self.kept(&status, at)?;
        let Following { tracer, trace, method, timeline } = self;
        let trace_id = trace.context.trace_id;
        tracer.queue.put(Ended::Call(OfCall { trace, timeline, method, at, status, kept })).then_some(trace_id)
    }

    /// Why it is kept, where it is.
    fn kept(&self, status: &Status, at: Instant) -> Option<Kept> {
        if self.trace.context.sampled {
            return Some(Kept::Sampled);
        }
        let is_ours = status.failure.as_ref().is_some_and(|failure| failure.kind().blame() != Blame::Caller);
        let late = if is_ours && names::is_server_error(status.code) {
            Kept::Error
        } else if at.saturating_duration_since(self.timeline.started()) >= self.tracer.rules.slow {
            Kept::Slow
        } else {
            return None;
        };
        self.tracer.late.take(at).then_some(late)
    }
}
