//! Bare ONNX Runtime: a session of one thread on each CPU over the same input. All run at one time, as they do in a
//! server: CPUs share caches and memory, some even a core.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;

use crate::calls::{Data, Input};
use crate::repository;

pub struct Bare {
    sessions: Vec<Session>,
}

impl Bare {
    pub fn of(model: &str) -> Bare {
        static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
        let environment = ENVIRONMENT.get_or_init(|| {
            let library = infergate::compute::session::find().expect("ONNX Runtime");
            ort::init_from(library).expect("ONNX Runtime").build().expect("an environment")
        });
        let session = |_| {
            let builder = Session::builder(environment).expect("a session").with_intra_threads(1).expect("an option");
            let mut builder = builder;
            builder.commit_from_file(repository::file(model)).expect("the model")
        };
        Bare { sessions: (0..crate::cores()).map(session).collect() }
    }

    /// CPU seconds by row of runs of so many rows, over `time`.
    pub fn seconds_per_row(&mut self, call: &[Input], rows: usize, time: Duration) -> f64 {
        let by_row: Vec<f64> = std::thread::scope(|scope| {
            let runs = self.sessions.iter_mut().map(|session| scope.spawn(move || run(session, call, rows, time)));
            runs.collect::<Vec<_>>().into_iter().map(|run| run.join().expect("runs")).collect()
        });
        by_row.iter().sum::<f64>() / by_row.len() as f64
    }
}

fn run(session: &mut Session, call: &[Input], rows: usize, time: Duration) -> f64 {
    let inputs: Vec<(&str, SessionInputValue<'_>)> =
        call.iter().map(|input| (input.name, value(input, rows))).collect();
    let (began, cpu, mut runs) = (Instant::now(), thread_cpu(), 0);
    while began.elapsed() < time {
        let inputs: Vec<(&str, SessionInputValue<'_>)> =
            inputs.iter().map(|(name, value)| (*name, value.view().into())).collect();
        session.run(inputs).expect("a run");
        runs += 1;
    }
    (thread_cpu() - cpu).as_secs_f64() / f64::from(runs) / rows as f64
}

fn value(input: &Input, rows: usize) -> SessionInputValue<'static> {
    let mut shape = input.shape.clone();
    shape[0] = rows as i64;
    match &input.data {
        Data::Floats(floats) => Tensor::from_array((shape, floats.repeat(rows))).expect("a tensor").into(),
        Data::Numbers(numbers) => Tensor::from_array((shape, numbers.repeat(rows))).expect("a tensor").into(),
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").expect("its times");
    Duration::from_nanos(told.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}
