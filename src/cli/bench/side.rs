//! One server that is measured: its connections, the message that it is sent, and what it tells of itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic::{Code, Status};

use super::cpu;
use super::load::{Call, Run};
use super::plan::{Asked, Plan};
use super::progress::Progress;
use super::reference::Reference;
use super::statistics::Statistics;
use super::tally::{End, Tally};
use super::{inputs, load};
use crate::cli::client::{Client, Repeated, ServerArgs, code};
use crate::cli::failure::Failure;
use crate::cli::message::{given, request};
use crate::cli::signature;
use crate::wire::proto::inference::{ModelInferRequest, ModelStatisticsRequest};

/// How long a server may take to tell what it counted, before it counts as one that does not.
const STATISTICS: Duration = Duration::from_secs(5);

/// A server, ready to be measured.
pub struct Side {
    server: ServerArgs,
    client: Client,
    asked: Asked,
    calls: Checked,
    pid: Option<u32>,
}

/// The calls, with the answer that each is compared with where that is wanted.
#[derive(Clone)]
struct Checked {
    repeated: Repeated,
    reference: Option<Arc<Reference>>,
}

impl Call for Checked {
    async fn call(&self, number: u64) -> End {
        match (self.repeated.call(number as usize, self.reference.is_some()).await, &self.reference) {
            (Err(status), _) => End::Failed(status),
            (Ok(answer), Some(reference)) => match reference.difference(&answer) {
                Some(difference) => End::Different(difference),
                None => End::Answered,
            },
            (Ok(_), None) => End::Answered,
        }
    }
}

/// What one run on one server showed.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The calls.
    pub tally: Tally,
    /// From the start to the last end of a call.
    pub took: Duration,
    /// What the server counted, where it does.
    pub statistics: Option<Statistics>,
    /// CPU of the server's process, where it is known.
    pub server_cpu: Option<Duration>,
    /// CPU of this process.
    pub client_cpu: Option<Duration>,
}

impl Measured {
    /// Answers in a second.
    pub fn rate(&self) -> f64 {
        self.per_second(self.tally.answered())
    }

    /// So many in a second of the run.
    pub fn per_second(&self, count: u64) -> f64 {
        if self.took.is_zero() { 0.0 } else { count as f64 / self.took.as_secs_f64() }
    }

    /// Microseconds of CPU for each call that ended.
    pub fn us_per_call(&self, cpu: Option<Duration>) -> Option<f64> {
        let calls = self.tally.answered() + self.tally.failed();
        cpu.filter(|_| calls > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / calls as f64)
    }

    /// Adds another run on the same server.
    pub fn add(&mut self, other: &Measured) {
        self.tally.add(&other.tally);
        self.took += other.took;
        self.server_cpu = sum(self.server_cpu, other.server_cpu);
        self.client_cpu = sum(self.client_cpu, other.client_cpu);
        match (&mut self.statistics, &other.statistics) {
            (Some(own), Some(other)) => own.add(other),
            (own, other) => *own = own.take().or_else(|| other.clone()),
        }
    }
}

fn sum(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}

impl Side {
    /// Connects, asks for the model's signature, makes the message and calls once, which is not measured.
    ///
    /// # Errors
    /// A failure where the server cannot be reached or refuses what would be sent, a wrong use where the inputs do not
    /// fit the model.
    pub async fn connect(server: ServerArgs, pid: Option<u32>, plan: &Plan) -> Result<Side, Failure> {
        let mut client = server.connect().await?;
        let message = message(&server, &mut client, &plan.asked).await?;
        let caller = ServerArgs { timeout: plan.deadline, ..server.clone() };
        let repeated = Repeated::connect(&caller, plan.connections, &message).await?;
        let reference = first(&caller, &repeated, plan).await?.map(Arc::new);
        let calls = Checked { repeated, reference };
        Ok(Side { server, client, asked: plan.asked.clone(), calls, pid })
    }

    /// Where it listens.
    pub fn target(&self) -> String {
        self.server.target.to_string()
    }

    /// Loads the server for so long, and says what that showed.
    pub async fn measure(&mut self, plan: &Plan, length: load::Length, seed: u64, progress: &Progress) -> Measured {
        let statistics = self.statistics().await;
        let (server_cpu, client_cpu) = (self.server_cpu(), cpu::used(std::process::id()));
        let run = Run::start(length, plan.goodput, progress.stop());
        progress.watch(&run, run.load(plan.load, seed, self.calls.clone())).await;
        let spent = |after: Option<Duration>, before| Some(after?.saturating_sub(before?));
        let server_cpu = spent(self.server_cpu(), server_cpu);
        let client_cpu = spent(cpu::used(std::process::id()), client_cpu);
        let statistics = match (statistics, self.statistics().await) {
            (Some(before), Some(after)) => Some(after.since(&before)),
            _ => None,
        };
        let tally = run.tally().clone();
        let took = tally.last().unwrap_or_else(Instant::now).saturating_duration_since(run.started());
        Measured { tally, took, statistics, server_cpu, client_cpu }
    }

    fn server_cpu(&self) -> Option<Duration> {
        self.pid.and_then(cpu::used)
    }

    /// What the server has counted so far; nothing where it does not count.
    async fn statistics(&mut self) -> Option<Statistics> {
        let request = ModelStatisticsRequest { name: self.asked.model.clone(), version: self.asked.version.clone() };
        let told = timeout(STATISTICS, self.client.model_statistics(self.server.request(request))).await.ok()?.ok()?;
        Some(Statistics::of(&told.get_ref().model_stats))
    }
}

async fn message(server: &ServerArgs, client: &mut Client, asked: &Asked) -> Result<ModelInferRequest, Failure> {
    let signature = signature::ask(server, client, &asked.model, &asked.version).await?;
    let given = given::tensors(&asked.inputs, &signature)?;
    let inputs = inputs::complete(given, &signature, &asked.sizes, asked.seed)?;
    request::message(&asked.wanted(), &inputs, &signature)
}

/// The first call, alone, and the reference where its answer is to be one.
async fn first(caller: &ServerArgs, repeated: &Repeated, plan: &Plan) -> Result<Option<Reference>, Failure> {
    match (repeated.call(0, plan.check.is_some()).await, plan.check) {
        (Err(status), check) if check.is_some() || is_about_the_call(&status) => {
            let refused = caller.refused(&status);
            Err(Failure::failed(format_args!("{}: the first call failed: {refused}", caller.target)))
        }
        (Ok(answer), Some(check)) => {
            let reference = Reference::new(answer, check.tolerance);
            Ok(Some(reference.map_err(|error| Failure::failed(error.within("the reference answer")))?))
        }
        _ => Ok(None),
    }
}

/// Whether every further call would fail like this.
fn is_about_the_call(status: &Status) -> bool {
    use Code::{FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unauthenticated, Unimplemented};
    let codes = [FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unauthenticated, Unimplemented];
    codes.contains(&code(status))
}
