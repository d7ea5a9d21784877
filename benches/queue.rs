//! What it costs a call to wait: time and allocations of going into the queue and out of it in a batch, over a place
//! that keeps what it is given.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(unsafe_code, reason = "an allocator that counts is an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use infergate::batch::{Batcher, Bounds, Rules};
use infergate::error::{Error, Kind};
use infergate::infer::{Backlog, Batch, InferRequest, Member, Place, Slot, Target, Timeline};
use infergate::tensor::{BatchAxis, DType, Dim, Rope, Shape, Signature, Tensor, TensorSpec};
use tower::Service;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Grants slots while it is open, and keeps what comes.
#[derive(Clone, Default)]
struct Keeping(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    open: bool,
    waker: Option<Waker>,
    kept: Vec<Batch>,
}

impl Place for Keeping {
    type Slot = Keeping;

    fn poll_slot(&mut self, cx: &mut Context<'_>, _waiting: &Backlog) -> Poll<Keeping> {
        let mut state = self.0.lock().expect("no panic");
        if state.open {
            return Poll::Ready(self.clone());
        }
        state.waker.get_or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }
}

impl Slot for Keeping {
    fn rows(&self) -> usize {
        usize::MAX
    }

    fn run(self, batch: Batch) {
        self.0.lock().expect("no panic").kept.push(batch);
    }
}

fn signature() -> Signature {
    let spec = |name: &'static str| TensorSpec {
        name: name.into(),
        dtype: DType::Fp32,
        dims: vec![Dim::Free(Some("batch".into())), Dim::Free(Some("width".into()))],
        optional: false,
    };
    Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] }
}

/// So many calls of so many different widths.
fn requests(count: usize, widths: usize) -> Vec<InferRequest> {
    let deadline = Instant::now() + Duration::from_secs(3600);
    let target = Target::parse("model".parse::<String>().expect("text").into(), "1").expect("a model");
    let request = |index: usize| {
        let width = 1 + index % widths;
        let shape = Shape::new(&[1, width as i64]).expect("a shape");
        let data = Rope::from(vec![0; 4 * width]);
        let tensor = Tensor::new("x".into(), DType::Fp32, shape, data).expect("a tensor");
        let member = Member {
            id: "".into(),
            deadline,
            trace: None,
            previous_attempts: 0,
            timeline: Timeline::start(Instant::now()),
        };
        InferRequest::new(target.clone(), [tensor], member)
    };
    (0..count).map(request).collect()
}

fn measure(max_batch: usize, calls: usize, widths: usize, rounds: usize) {
    let signature = Arc::new(signature());
    let rules = Rules {
        axis: BatchAxis::find(&signature, None, false).ok(),
        max_batch,
        ..Rules::call_by_call(Bounds { calls: usize::MAX, bytes: usize::MAX })
    };
    let place = Keeping::default();
    let leaving = tokio::sync::watch::channel(false).1;
    let mut batcher = Batcher::new(place.clone(), signature, rules, Arc::default(), leaving).expect("good rules");
    let (mut times, mut allocations) = (Vec::new(), 0);
    for round in 0..rounds {
        let (requests, mut answers) = (requests(calls, widths), Vec::with_capacity(calls));
        place.0.lock().expect("no panic").kept.reserve(calls);
        let (before, began) = (ALLOCATIONS.load(Relaxed), Instant::now());
        for request in requests {
            answers.push(batcher.call(request));
        }
        let waker = {
            let mut state = place.0.lock().expect("no panic");
            state.open = true;
            state.waker.take()
        };
        waker.expect("the queue waits for the place").wake();
        times.push(began.elapsed().as_nanos() as f64 / calls as f64);
        if round > 0 {
            allocations += ALLOCATIONS.load(Relaxed) - before;
        }
        let kept = {
            let mut state = place.0.lock().expect("no panic");
            state.open = false;
            std::mem::take(&mut state.kept)
        };
        black_box(kept)
            .into_iter()
            .for_each(|batch| batch.answer(Err(Error::new(Kind::Draining, "it was only a try"))));
        drop(answers);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{calls:>5} calls wait, {widths:>3} shapes, batches of {max_batch:>2}: {:>5.0} ns (median of {rounds}, least {:.0}), \
         {:.2} allocations a call in and out",
        times[rounds / 2],
        times[0],
        allocations as f64 / (calls * (rounds - 1)) as f64,
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds = if arguments.iter().any(|argument| argument == "--short") { 20 } else { 400 };
    println!("a call's own allocations: its box, the channel of its answer, what tells whether it is waited for: 3");
    for (max_batch, calls, widths) in
        [(1, 1, 1), (32, 1, 1), (1, 1000, 1), (32, 1000, 1), (32, 1000, 10), (32, 1000, 100)]
    {
        measure(max_batch, calls, widths, rounds);
    }
}
