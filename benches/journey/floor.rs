//! The floors, and infergate with an engine that does nothing.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use bytestring::ByteString;
use infergate::compute::{Engine, Loaded};
use infergate::config::{Config, Overrides};
use infergate::error::Result;
use infergate::infer::Interest;
use infergate::role::Server;
use infergate::tensor::{DType, Dim, Signature, Tensor, TensorSpec};
use infergate::wire::proto::inference::ModelInferRequest;
use infergate::wire::proto::inference::model_infer_request::InferInputTensor;
use ort::session::Session;
use ort::value::TensorRef;
use prost::Message;
use tokio::sync::oneshot;

use crate::rig::floor::Floor;
use crate::{MODELS, TINY};

/// Floats of one digit.
const PIXELS: usize = 64;

/// A `ModelInferRequest` with one digit of the examples.
pub fn digit_message() -> Bytes {
    digit_message_for(TINY)
}

pub fn digit_message_for(model: &str) -> Bytes {
    let npy = std::fs::read(format!("{MODELS}/../inputs/seven.npy")).expect("the example input");
    message(model, "image", "FP32", vec![1, 1, 8, 8], npy[npy.len() - PIXELS * 4..].to_vec())
}

/// A `ModelInferRequest` of so many bytes.
pub fn identity_message(bytes: usize) -> Bytes {
    message("identity", "x", "UINT8", vec![bytes as i64], vec![7; bytes])
}

fn message(model: &str, input: &str, datatype: &str, shape: Vec<i64>, raw: Vec<u8>) -> Bytes {
    let input = InferInputTensor { name: input.into(), datatype: datatype.into(), shape, ..Default::default() };
    let request = ModelInferRequest {
        model_name: model.into(),
        inputs: vec![input],
        raw_input_contents: vec![raw.into()],
        ..Default::default()
    };
    request.encode_to_vec().into()
}

/// Serves as one of the floors until the process is killed.
pub fn be(role: &str) {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        match role {
            "floor" => digits_floor(threads).serve().await,
            "echo" => Floor::echo().serve().await,
            "identity" => identity().await,
            _ => panic!("no such role: {role}"),
        }
    });
}

fn digits_floor(threads: usize) -> Floor {
    let jobs = digits(threads);
    Floor::of(move |message| {
        let (reply, answer) = oneshot::channel();
        jobs.send((message, reply)).expect("threads");
        Box::pin(async { answer.await.expect("an answer") })
    })
}

/// Threads with a bare session each; the tensor is the message's end.
fn digits(threads: usize) -> SyncSender<Job> {
    let (sender, jobs) = sync_channel::<Job>(1024);
    let jobs = Arc::new(Mutex::new(jobs));
    let library = infergate::compute::session::find().expect("ONNX Runtime");
    let environment = ort::init_from(library).expect("ONNX Runtime").build().expect("an environment");
    for _ in 0..threads {
        let builder = Session::builder(&environment).expect("a session").with_intra_threads(1).expect("an option");
        let mut builder = builder;
        let session = builder.commit_from_file(format!("{MODELS}/{TINY}/1/model.onnx")).expect("the model");
        let jobs = jobs.clone();
        std::thread::spawn(move || run(session, &jobs));
    }
    sender
}

type Job = (Bytes, oneshot::Sender<Bytes>);

fn run(mut session: Session, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let Ok((message, reply)) = jobs.lock().expect("no panic").recv() else { return };
        let tensor = &message[message.len() - PIXELS * 4..];
        let pixels: Vec<f32> =
            tensor.chunks_exact(4).map(|pixel| f32::from_le_bytes(pixel.try_into().expect("four bytes"))).collect();
        let input = TensorRef::from_array_view(([1usize, 1, 8, 8], pixels.as_slice())).expect("a tensor");
        let outputs = session.run(ort::inputs![input]).expect("a run");
        let (_, probabilities) = outputs[0].try_extract_tensor::<f32>().expect("floats");
        let answer: Vec<u8> = probabilities.iter().flat_map(|value| value.to_le_bytes()).collect();
        let _ = reply.send(answer.into());
    }
}

/// Infergate over an engine that gives its input back.
async fn identity() {
    let folder = std::env::temp_dir().join(format!("infergate-journey-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("identity/1")).expect("a folder");
    std::fs::write(folder.join("identity/1/model.onnx"), b"scripted").expect("a file");
    let flags = Overrides::default()
        .flag("listen", "listen", Some("127.0.0.1:0"))
        .flag("admin", "admin", Some("127.0.0.1:0"))
        .flag("models", "models", Some(folder.display()));
    let config = Config::load(None, std::iter::empty(), flags).expect("a configuration");
    let server = Server::start(&config, Arc::new(|_, _| Ok(identity_engine()))).await.expect("a server");
    println!("listening grpc={} admin={}", server.addresses().grpc, server.addresses().admin);
    std::future::pending::<()>().await;
}

fn identity_engine() -> Loaded {
    let spec = |name: &'static str| TensorSpec {
        name: ByteString::from_static(name),
        dtype: DType::Uint8,
        dims: vec![Dim::Free(None)],
        optional: false,
    };
    let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
    Loaded { signature, device: "cpu".into(), engines: vec![Box::new(Identity)], arenas: Vec::new() }
}

struct Identity;

impl Engine for Identity {
    fn run(&mut self, inputs: &[Tensor], _outputs: &[ByteString], _interest: &Interest) -> Result<Vec<Tensor>> {
        let x = &inputs[0];
        Ok(vec![Tensor::new("y".into(), x.dtype(), x.shape().clone(), x.data().clone())?])
    }
}
