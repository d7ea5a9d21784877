//! Numbers of each model version, as the Open Inference Protocol's ModelStatistics tells them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use tower::Service;

use super::arenas::Arenas;
use super::gauges::QueueGauges;
use crate::error::{Error, Kind, Result};
use crate::infer::{
    Close, Composition, Execution, Infer, InferRequest, InferResponse, ModelName, Stage, Timeline, Version,
};

/// How often and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// How often.
    pub count: u64,
    /// How long in all.
    pub time: Duration,
}

impl Total {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.time += time;
    }
}

/// Executions of one batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchTotals {
    /// Laying out the inputs.
    pub merge: Total,
    /// Running the engine.
    pub execute: Total,
    /// Cutting and handing out the outputs.
    pub split: Total,
}

/// The numbers of one model version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelTotals {
    /// When the last call was answered, in milliseconds since 1970.
    pub last_inference: u64,
    /// Rows in all successful calls.
    pub inferences: u64,
    /// Runs of the engine.
    pub executions: u64,
    /// Calls that were answered, with their time from the door to the answer.
    pub success: Total,
    /// Calls that failed, likewise.
    pub fail: Total,
    /// Time in the queue of answered calls.
    pub queue: Total,
    /// Time in which their inputs were laid out.
    pub merge: Total,
    /// Time in which the engine ran for them.
    pub execute: Total,
    /// Time in which their outputs were cut and handed out.
    pub split: Total,
    /// Executions by their rows.
    pub batches: BTreeMap<u64, BatchTotals>,
    /// Executions by why their batch was closed, in the order of [`Close::ALL`].
    pub closed: [u64; Close::ALL.len()],
    /// Elements of all inputs that engines got, padding included.
    pub elements: u64,
    /// Elements of padding among them.
    pub padding: u64,
}

/// Rows of one execution are at most this many in a row of their own; larger ones are counted together with it, so
/// that callers cannot make the table grow without end.
const MAX_ROWS: u64 = 1024;

impl ModelTotals {
    fn run(&mut self, composition: &Composition) -> &mut BatchTotals {
        let Composition { rows, elements, padding, closed } = *composition;
        self.executions += 1;
        self.closed[closed as usize] += 1;
        self.elements += elements as u64;
        self.padding += padding as u64;
        self.batch(rows as u64)
    }

    fn batch(&mut self, rows: u64) -> &mut BatchTotals {
        self.batches.entry(rows.min(MAX_ROWS)).or_default()
    }

    fn answered(&mut self, timeline: &Timeline, rows: u64) {
        let now = Instant::now();
        let (whole, spent) = (now.saturating_duration_since(timeline.started()), timeline.spent_until(now));
        self.last_inference = millis_since_1970();
        self.inferences += rows;
        self.success.add(whole);
        self.queue.add(spent.of(Stage::Queue));
        self.merge.add(spent.of(Stage::Merge));
        self.execute.add(spent.of(Stage::Execute));
        self.split.add(spent.of(Stage::Split));
    }
}

fn millis_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The numbers of one model version, moved by its calls.
#[derive(Debug, Default)]
pub struct Statistics {
    totals: Mutex<ModelTotals>,
    queue: Arc<QueueGauges>,
    arenas: Arenas,
}

impl Statistics {
    /// The numbers now.
    pub fn totals(&self) -> ModelTotals {
        self.lock().clone()
    }

    /// The state of the queue in front of it.
    pub fn queue(&self) -> &Arc<QueueGauges> {
        &self.queue
    }

    /// The memory that its engines keep.
    pub fn arenas(&self) -> &Arenas {
        &self.arenas
    }

    /// The engine ran once, successfully.
    pub fn executed(&self, execution: &Execution) {
        let mut totals = self.lock();
        let batch = totals.run(&execution.composition);
        batch.merge.add(execution.merged - execution.taken);
        batch.execute.add(execution.executed - execution.merged);
    }

    /// A batch was sent on to where others tell how long it ran.
    pub fn sent(&self, composition: &Composition) {
        self.lock().run(composition).execute.add(Duration::ZERO);
    }

    /// The outputs of such a run were cut and handed out.
    pub fn handed_out(&self, rows: u64, time: Duration) {
        self.lock().batch(rows).split.add(time);
    }

    fn lock(&self) -> MutexGuard<'_, ModelTotals> {
        self.totals.lock().expect("nothing panics while numbers are added")
    }

    fn end(&self, result: &Result<InferResponse>, timeline: &Timeline) {
        match result {
            Ok(response) => self.lock().answered(timeline, response.rows as u64),
            Err(_) => self.lock().fail.add(timeline.started().elapsed()),
        }
    }
}

type Key = (ModelName, Option<Version>);

/// Statistics by model version, and where calls wait before it is known which they get, of that queue. A version that is loaded anew while it serves goes on counting; one that is gone is
/// forgotten.
#[derive(Debug, Default)]
pub struct StatisticsTable {
    models: Mutex<BTreeMap<Key, Weak<Statistics>>>,
}

impl StatisticsTable {
    /// The statistics of a version, new ones where none are in use.
    pub fn of(&self, model: &ModelName, version: impl Into<Option<Version>>) -> Arc<Statistics> {
        let mut models = self.models.lock().expect("nothing panics while the table is held");
        models.retain(|_, statistics| statistics.strong_count() > 0);
        let known = models.entry((model.clone(), version.into())).or_default();
        known.upgrade().unwrap_or_else(|| {
            let statistics = Arc::default();
            *known = Arc::downgrade(&statistics);
            statistics
        })
    }

    /// The statistics of all versions that are loaded, by name and version.
    pub fn all(&self) -> Vec<(ModelName, Option<Version>, Arc<Statistics>)> {
        let models = self.models.lock().expect("nothing panics while the table is held");
        let loaded =
            models.iter().filter_map(|((model, version), known)| Some((model.clone(), *version, known.upgrade()?)));
        loaded.collect()
    }

    /// The statistics of a version that is loaded.
    pub fn get(&self, model: &ModelName, version: Version) -> Option<Arc<Statistics>> {
        let models = self.models.lock().expect("nothing panics while the table is held");
        models.get(&(model.clone(), Some(version))).and_then(Weak::upgrade)
    }
}

/// Counts each call of a model version by its end.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    inner: S,
    statistics: Arc<Statistics>,
}

impl<S> Counted<S> {
    /// Calls of `inner`, counted.
    pub fn new(statistics: Arc<Statistics>, inner: S) -> Self {
        Counted { inner, statistics }
    }
}

impl<S: Infer> Service<InferRequest> for Counted<S> {
    type Response = InferResponse;
    type Error = Error;
    type Future = Counting<S::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: InferRequest) -> Self::Future {
        let (statistics, timeline) = (Some(self.statistics.clone()), request.members[0].timeline.clone());
        Counting { answer: self.inner.call(request), call: Uncounted { statistics, timeline } }
    }
}

pin_project_lite::pin_project! {
    /// The future of one call that is counted at its end.
    pub struct Counting<F> {
        #[pin]
        answer: F,
        call: Uncounted,
    }
}

/// A call whose end is not counted yet. Dropped so, its caller has left, and it counts as failed.
struct Uncounted {
    statistics: Option<Arc<Statistics>>,
    timeline: Timeline,
}

impl Uncounted {
    fn end(&mut self, result: &Result<InferResponse>) {
        if let Some(statistics) = self.statistics.take() {
            statistics.end(result, &self.timeline);
        }
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        self.end(&Err(Error::new(Kind::Cancelled, "the caller left")));
    }
}

impl<F: Future<Output = Result<InferResponse>>> Future for Counting<F> {
    type Output = Result<InferResponse>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.answer.poll(cx));
        this.call.end(&result);
        Poll::Ready(result)
    }
}
