//! Instances of one model: an OS thread for each engine, and the place that grants their slots.
//!
//! A slot is granted only where an instance is idle now and the CPU has room: nothing is ever committed behind a
//! running batch. When an instance is done it wakes the queue in place, on its own thread, so that the next batch is
//! formed and started without a switch of threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use smallvec::SmallVec;

use super::buffers::Buffers;
use super::shares::{CpuShares, Share};
use super::{Engine, Loaded};
use crate::error::{Error, Kind, Result};
use crate::infer::{
    Backlog, Batch, Execution, InferResponse, Joint, LoadReport, ModelName, Outcome, Place, Run, Slot, Stage, Version,
};
use crate::observe::{Arena, Statistics};
use crate::tensor::Tensor;

/// After so long without work an instance lets go of the memory that it keeps for the next batch.
const IDLE: Duration = Duration::from_secs(1);

/// What a runner answers with each batch, beside the outputs.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: Version,
}

/// The instances of one model version. Dropping it ends their threads once what runs is done.
pub struct Runners {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    device: ByteString,
    statistics: Arc<Statistics>,
    idle: Mutex<Idle>,
    instances: Vec<Instance>,
    running: AtomicU32,
    cpu: Option<CpuUse>,
    /// Kept for as long as it runs, so that somebody can be told of them.
    _arenas: Vec<Arc<dyn Arena>>,
}

/// The CPU shares that one run takes.
pub struct CpuUse {
    /// Whose shares.
    pub shares: Arc<CpuShares>,
    /// How many: the threads of one run.
    pub threads: usize,
}

struct Idle {
    instances: Vec<usize>,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Instance {
    mailbox: Mutex<Mailbox>,
    thread: OnceLock<Thread>,
}

#[derive(Default)]
struct Mailbox {
    work: Option<Work>,
    stopped: bool,
}

struct Work {
    batch: Batch,
    share: Option<Share>,
}

impl Runners {
    /// Starts a thread for each engine. `cpu` is what one run takes of the CPU, none for a device of its own;
    /// `statistics` counts the runs.
    ///
    /// # Errors
    /// `Unloadable` where a thread cannot be started.
    pub fn start(
        identity: Identity,
        loaded: Loaded,
        cpu: Option<CpuUse>,
        statistics: Arc<Statistics>,
    ) -> Result<Runners> {
        let count = loaded.engines.len();
        statistics.arenas().add(&loaded.arenas);
        let shared = Arc::new(Shared {
            identity,
            device: loaded.device,
            statistics,
            idle: Mutex::new(Idle { instances: (0..count).collect(), waker: None }),
            instances: (0..count).map(|_| Instance::default()).collect(),
            running: AtomicU32::new(0),
            cpu,
            _arenas: loaded.arenas,
        });
        let runners = Runners { shared: shared.clone() };
        for (index, engine) in loaded.engines.into_iter().enumerate() {
            shared.spawn(index, engine)?;
        }
        Ok(runners)
    }
}

impl Drop for Runners {
    fn drop(&mut self) {
        for instance in &self.shared.instances {
            instance.mailbox().stopped = true;
            instance.wake();
        }
    }
}

impl Place for Runners {
    type Slot = RunnerSlot;

    fn poll_slot(&mut self, cx: &mut Context<'_>, _waiting: &Backlog) -> Poll<RunnerSlot> {
        let mut idle = self.shared.idle();
        if idle.instances.is_empty() {
            idle.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let share = match &self.shared.cpu {
            None => None,
            Some(cpu) => match cpu.shares.poll_take(cpu.threads, cx) {
                Poll::Ready(share) => Some(share),
                Poll::Pending => return Poll::Pending,
            },
        };
        let instance = idle.instances.pop().expect("it was not empty");
        Poll::Ready(RunnerSlot { shared: self.shared.clone(), granted: Some(Granted { instance, share }) })
    }
}

/// An idle instance, granted to whoever holds this.
pub struct RunnerSlot {
    shared: Arc<Shared>,
    granted: Option<Granted>,
}

struct Granted {
    instance: usize,
    share: Option<Share>,
}

impl Slot for RunnerSlot {
    fn rows(&self) -> usize {
        usize::MAX
    }

    fn run(mut self, batch: Batch) {
        if let Some(Granted { instance, share }) = self.granted.take() {
            self.shared.running.fetch_add(1, Ordering::Relaxed);
            let instance = &self.shared.instances[instance];
            instance.mailbox().work = Some(Work { batch, share });
            instance.wake();
        }
    }
}

impl Drop for RunnerSlot {
    fn drop(&mut self) {
        if let Some(Granted { instance, share }) = self.granted.take() {
            self.shared.release(instance, share);
        }
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().expect("nothing panics while instances are counted")
    }

    fn spawn(self: &Arc<Self>, index: usize, engine: Box<dyn Engine>) -> Result<()> {
        let shared = self.clone();
        let thread = thread::Builder::new()
            .name(format!("run-{}-{index}", self.identity.model))
            .spawn(move || shared.work(index, engine))
            .map_err(|error| Error::new(Kind::Unloadable, format!("no thread for an instance: {error}")))?;
        let _ = self.instances[index].thread.set(thread.thread().clone());
        Ok(())
    }

    /// The life of an instance's thread.
    fn work(&self, index: usize, mut engine: Box<dyn Engine>) {
        let buffers = Buffers::default();
        while let Some(Work { batch, share }) = self.instances[index].wait(&buffers) {
            let (batch, result) = self.run(engine.as_mut(), batch, &buffers);
            self.running.fetch_sub(1, Ordering::Relaxed);
            // A panic is a bug in what is behind the answer; its calls fail, and the instance goes on.
            let told = catch_unwind(AssertUnwindSafe(|| self.answer(batch, result)));
            let freed = catch_unwind(AssertUnwindSafe(|| self.release(index, share)));
            if told.is_err() || freed.is_err() {
                tracing::error!(model = %self.identity.model, "a batch could not be answered");
            }
        }
    }

    fn answer(&self, batch: Batch, result: Outcome) {
        let Ok(response) = result else { return batch.answer(result) };
        // Counted before it is answered, so that a caller who asks next finds its own call in the numbers.
        self.statistics.executed(&response.execution);
        let rows = response.execution.composition.rows as u64;
        let before = Instant::now();
        batch.answer(Ok(response));
        self.statistics.handed_out(rows, before.elapsed());
    }

    /// Makes an instance idle again and lets those who wait for it, or for its share of the CPU, go on.
    fn release(&self, index: usize, share: Option<Share>) {
        let waker = {
            let mut idle = self.idle();
            idle.instances.push(index);
            idle.waker.take()
        };
        drop(share);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn run(&self, engine: &mut dyn Engine, mut batch: Batch, buffers: &Buffers) -> (Batch, Outcome) {
        // Taken on this thread: until it woke up, the batch was still waiting.
        let taken = Instant::now();
        let inputs: SmallVec<[Tensor; 1]> =
            std::mem::take(&mut batch.request.inputs).into_iter().map(|tensor| buffers.laid_out(tensor)).collect();
        let wanted: SmallVec<[ByteString; 2]> =
            batch.request.outputs.iter().map(|wanted| wanted.name.clone()).collect();
        let merged = Instant::now();
        // A panic is a bug in an engine; the call fails and the instance goes on.
        let run = catch_unwind(AssertUnwindSafe(|| engine.run(&inputs, &wanted, &batch.interest)));
        let executed = Instant::now();
        for member in &batch.request.members {
            member.timeline.end(Stage::Queue, taken);
            member.timeline.end(Stage::Merge, merged);
            member.timeline.end(Stage::Execute, executed);
        }
        let run = run.unwrap_or_else(|_| Err(Error::new(Kind::Engine, "the engine panicked")));
        if let Some(joint) = Joint::of(&batch.request.members) {
            let failure = run.as_ref().err().cloned();
            let shape = inputs.first().map(|first| first.shape().clone());
            let (device, composition) = (self.device.clone(), batch.composition);
            let noted = Run { joint, composition, shape, device, taken, merged, executed, failure };
            noted.note(&batch.request.members);
        }
        let result = run.map(|outputs| {
            let execution = self.execution(&batch, [taken, merged, executed]);
            let Identity { model, version } = self.identity.clone();
            let (parameters, rows) = (Default::default(), batch.composition.rows);
            let (version, outputs, received) = (Some(version), outputs.into(), None);
            Box::new(InferResponse { model, version, outputs, parameters, rows, received, execution })
        });
        (batch, result)
    }

    fn execution(&self, batch: &Batch, [taken, merged, executed]: [Instant; 3]) -> Execution {
        let running = self.running.load(Ordering::Relaxed);
        let load = LoadReport {
            running,
            free_slots: self.instances.len() as u32 - running.min(self.instances.len() as u32),
            execution: executed - merged,
            ..LoadReport::default()
        };
        let members = batch.request.members.len() as u32;
        Execution {
            batch: fastrand::u64(1..),
            composition: batch.composition,
            members,
            device: self.device.clone(),
            taken,
            merged,
            executed,
            load,
        }
    }
}

impl Instance {
    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().expect("nothing panics while a mailbox is held")
    }

    /// Wakes the thread, which need not have begun to wait: a token is kept for it.
    fn wake(&self) {
        if let Some(thread) = self.thread.get()
            && thread.id() != thread::current().id()
        {
            thread.unpark();
        }
    }

    /// The next batch, or `None` once the model is gone.
    /// What is kept in `buffers` is let go of where none comes for a while.
    fn wait(&self, buffers: &Buffers) -> Option<Work> {
        let mut idle = false;
        loop {
            {
                let mut mailbox = self.mailbox();
                if let Some(work) = mailbox.work.take() {
                    return Some(work);
                }
                if mailbox.stopped {
                    return None;
                }
            }
            if buffers.is_empty() {
                thread::park();
            } else if std::mem::replace(&mut idle, true) {
                buffers.release();
            } else {
                thread::park_timeout(IDLE);
            }
        }
    }
}

#[cfg(test)]
mod tests;
