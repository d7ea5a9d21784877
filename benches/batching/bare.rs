//! Bare ONNX Runtime: a session of one thread over the same input.

use std::time::{Duration, Instant};

use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;

use crate::calls::{Data, Input};
use crate::repository;

pub struct Bare {
    session: Session,
}

impl Bare {
    pub fn of(model: &str) -> Bare {
        let library = infergate::compute::session::find().expect("ONNX Runtime");
        let environment = ort::init_from(library).expect("ONNX Runtime").build().expect("an environment");
        let builder = Session::builder(&environment).expect("a session").with_intra_threads(1).expect("an option");
        let mut builder = builder;
        Bare { session: builder.commit_from_file(repository::file(model)).expect("the model") }
    }

    /// CPU seconds by row of runs of so many rows, over `time`.
    pub fn seconds_per_row(&mut self, call: &[Input], rows: usize, time: Duration) -> f64 {
        let inputs: Vec<(&str, SessionInputValue<'_>)> =
            call.iter().map(|input| (input.name, value(input, rows))).collect();
        let (began, cpu, mut runs) = (Instant::now(), thread_cpu(), 0);
        while began.elapsed() < time {
            let views = inputs.iter().map(|(name, value)| (*name, value.view()));
            let inputs: Vec<(&str, SessionInputValue<'_>)> = views.map(|(name, view)| (name, view.into())).collect();
            self.session.run(inputs).expect("a run");
            runs += 1;
        }
        (thread_cpu() - cpu).as_secs_f64() / f64::from(runs) / rows as f64
    }
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
