//! What a call allocates and copies between its last DATA frame and the first frame of its answer, counted, not timed.
//!
//! A buffer as large as the tensor is the place of a copy, so that counting such buffers counts the copies. Beside
//! that the engine says where its input lay, and the answer, of an engine that gives its input back, where it lies.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(unsafe_code, reason = "an allocator that counts is an allocator")]

mod collector;
#[path = "../rig/collector.rs"]
mod taking;

use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use infergate::accept::{BodyRules, ByteBudget, Calls, Deadlines, OpenInference, Peer, Phases, Rules, Tracing};
use infergate::batch::{self, Batcher, Bounds};
use infergate::compute::{Engine, Identity, Loaded, Runners};
use infergate::error::Result;
use infergate::infer::{Interest, Version};
use infergate::observe::trace::Dropped;
use infergate::observe::{CallTable, Statistics};
use infergate::tensor::{BatchAxis, DType, Dim, Signature, Tensor, TensorSpec, aligned};
use infergate::wire::proto::inference::ModelInferRequest;
use infergate::wire::proto::inference::model_infer_request::InferInputTensor;
use infergate::wire::status;
use prost::Message;

use self::collector::Collector;

/// The frames in which clients send by default.
const FRAME: usize = 16 * 1024;
const CALLS: usize = 50;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static LARGE: AtomicUsize = AtomicUsize::new(0);
static LARGE_FROM: AtomicUsize = AtomicUsize::new(usize::MAX);

fn count(size: usize) {
    ALLOCATIONS.fetch_add(1, Relaxed);
    BYTES.fetch_add(size, Relaxed);
    if size >= LARGE_FROM.load(Relaxed) {
        LARGE.fetch_add(1, Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Gives its input back, and keeps where it lay.
struct Mirror(Arc<AtomicUsize>);

impl Engine for Mirror {
    fn run(&mut self, inputs: &[Tensor], _outputs: &[ByteString], _interest: &Interest) -> Result<Vec<Tensor>> {
        let x = &inputs[0];
        let whole = x.data().contiguous().expect("an engine's input lies in one piece");
        self.0.store(whole.as_ptr() as usize, Relaxed);
        Ok(vec![Tensor::new("y".into(), x.dtype(), x.shape().clone(), whole.into())?])
    }
}

fn calls(seen: Arc<AtomicUsize>, max_batch: usize, tracing: Tracing) -> Arc<Calls<Batcher<Runners>>> {
    let spec = |name: &'static str| TensorSpec {
        name: ByteString::from_static(name),
        dtype: DType::Fp32,
        dims: vec![Dim::Free(Some("batch".into())), Dim::Free(None)],
        optional: false,
    };
    let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
    let loaded = Loaded {
        signature: signature.clone(),
        device: "cpu".into(),
        engines: vec![Box::new(Mirror(seen))],
        arenas: Vec::new(),
    };
    let identity = Identity { model: "mirror".parse().expect("a name"), version: Version::new(1).expect("a version") };
    let runners = Runners::start(identity, loaded, None, Arc::new(Statistics::default())).expect("a thread");
    let minute = Duration::from_secs(60);
    let rules = batch::Rules {
        axis: BatchAxis::find(&signature, None, false).ok(),
        max_batch,
        ..batch::Rules::call_by_call(Bounds { calls: 16, bytes: 1 << 30 })
    };
    let leaving = tokio::sync::watch::channel(false).1;
    let service = Batcher::new(runners, Arc::new(signature), rules, Arc::default(), leaving).expect("good rules");
    let rules = Rules {
        deadlines: Deadlines { default: minute, max: minute },
        body: BodyRules { message_size: 64 << 20, first_byte: minute, min_rate: 0 },
        load_report: false,
        server_timing: true,
        stream_in_flight: 1,
        stream_idle: minute,
    };
    let calls = Calls::new(service, rules, ByteBudget::new(1 << 30), Arc::default(), Phases::default(), tracing);
    Arc::new(calls.measured_by(flag("--measured").then(|| Arc::new(CallTable::new(status::name)))))
}

/// Who calls.
const PEER: Peer = Peer { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1), is_trusted: false };

/// A call's message with its prefix, in frames.
fn frames(bytes: usize) -> Arc<[Bytes]> {
    let shape = vec![1, (bytes / 4) as i64];
    let input = InferInputTensor { name: "x".into(), datatype: "FP32".into(), shape, ..Default::default() };
    let request = ModelInferRequest {
        model_name: "mirror".into(),
        inputs: vec![input],
        raw_input_contents: vec![vec![1; bytes].into()],
        ..Default::default()
    };
    let mut message = vec![0];
    message.extend((request.encoded_len() as u32).to_be_bytes());
    message.extend(request.encode_to_vec());
    let message = Bytes::from(message);
    (0..message.len()).step_by(FRAME).map(|at| message.slice(at..message.len().min(at + FRAME))).collect()
}

thread_local! {
    /// What a client of grpc-go says with each call.
    static HEADERS: HeaderMap = [
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-go/1.81.0"),
        ("te", "trailers"),
        ("grpc-timeout", "4999990u"),
    ]
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
    .into_iter()
    .collect();
}

async fn call(calls: &Arc<Calls<Batcher<Runners>>>, frames: &Arc<[Bytes]>) -> Vec<Bytes> {
    let (count, frames) = (frames.len(), frames.clone());
    let frames = (0..count).map(move |at| Ok::<_, Infallible>(Frame::data(frames[at].clone())));
    let mut request = Request::new(StreamBody::new(tokio_stream::iter(frames)));
    *request.headers_mut() = HEADERS.with(HeaderMap::clone);
    let mut body = calls.unary::<OpenInference, _>(request, PEER).await.into_body();
    let mut parts = Vec::with_capacity(4);
    while let Some(Ok(frame)) = body.frame().await {
        parts.extend(frame.into_data());
    }
    parts
}

async fn measure(bytes: usize, max_batch: usize) {
    let seen = Arc::new(AtomicUsize::new(0));
    let (calls, frames) = (calls(seen.clone(), max_batch, Tracing::passing()), frames(bytes));
    for _ in 0..5 {
        call(&calls, &frames).await;
    }
    LARGE_FROM.store(bytes.max(4096), Relaxed);
    let before = [&ALLOCATIONS, &BYTES, &LARGE].map(|counter| counter.load(Relaxed));
    let mut shared = 0;
    for _ in 0..CALLS {
        let parts = call(&calls, &frames).await;
        let at = seen.load(Relaxed);
        shared += usize::from(parts.iter().any(|part| part.as_ptr() as usize == at));
    }
    let after = [&ALLOCATIONS, &BYTES, &LARGE].map(|counter| counter.load(Relaxed));
    LARGE_FROM.store(usize::MAX, Relaxed);
    let [allocations, allocated, large] = [0, 1, 2].map(|index| (after[index] - before[index]) as f64 / CALLS as f64);
    let aligned = seen.load(Relaxed).is_multiple_of(aligned::ALIGNMENT);
    println!(
        "{bytes:>9} B tensor, batches of {max_batch:>2}: {allocations:>5.1} allocations, {allocated:>11.0} B allocated, {large:.1} buffers of its \
         size; at the engine {}; answer {}",
        if aligned { "aligned to 64" } else { "aligned to its elements" },
        if shared == CALLS { "shares the engine's memory" } else { "copied beside its header" },
    );
}

/// `--calls N [--batch ROWS] [--measured] [--traced RATIO]`: so many calls of 256 bytes and nothing else, for a tool that
/// counts instructions. With `--traced` notes are taken of every call, and that part of them is exported, all of it to a
/// collector in a process of its own, whose instructions are not among them.
async fn counted(count: usize) {
    let ratio = number("--traced");
    let collector = ratio.map(|_| Collector::start());
    let tracing = collector.as_ref().zip(ratio).map_or_else(Tracing::passing, |(to, ratio)| to.tracing(ratio));
    let tracer = tracing.tracer.clone();
    let (calls, frames) = (calls(Arc::default(), number("--batch").unwrap_or(1.0) as usize, tracing), frames(256));
    for _ in 0..count {
        call(&calls, &frames).await;
    }
    tracer.flush(Duration::from_secs(60)).await;
    if let Some(counts) = tracer.counts() {
        let dropped = Dropped::ALL.map(|why| (why, counts.dropped(why)));
        assert_eq!(counts.exported(), counts.kept(), "the collector takes all, but {dropped:?}");
        assert!(ratio < Some(1.0) || counts.kept() == count as u64, "all are kept");
    }
}

fn flag(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

/// The number behind an argument of this name.
fn number(name: &str) -> Option<f64> {
    std::env::args().skip_while(|argument| argument != name).nth(1)?.parse().ok()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if flag("--collector") {
            return collector::be().await;
        }
        if let Some(count) = number("--calls") {
            return counted(count as usize).await;
        }
        for bytes in [256, 8 << 10, 64 << 10, 1 << 20, 16 << 20] {
            for max_batch in [1, 32] {
                measure(bytes, max_batch).await;
            }
        }
    });
}
