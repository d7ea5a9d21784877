//! The floors, and infergate with an engine that does nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

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
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};

use crate::load::{CONNECTION_WINDOW, Raw, WINDOW};
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
            "floor" => serve(Floor(Answers::Digits(digits(threads)))).await,
            "echo" => serve(Floor(Answers::Echo)).await,
            "identity" => identity().await,
            _ => panic!("no such role: {role}"),
        }
    });
}

async fn serve(floor: Floor) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("listening grpc={}", listener.local_addr().expect("its address"));
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(1 << 20)
        .add_service(floor);
    server.serve_with_incoming(incoming).await.expect("it serves");
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

#[derive(Clone)]
struct Floor(Answers);

#[derive(Clone)]
enum Answers {
    Digits(SyncSender<Job>),
    Echo,
}

impl NamedService for Floor {
    const NAME: &'static str = "floor.Floor";
}

impl tower::Service<http::Request<Body>> for Floor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let floor = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).max_decoding_message_size(64 << 20).unary(floor, request).await) })
    }
}

impl UnaryService<Bytes> for Floor {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Bytes>, tonic::Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let answers = self.0.clone();
        Box::pin(async move {
            let message = request.into_inner();
            let Answers::Digits(jobs) = answers else { return Ok(tonic::Response::new(message)) };
            let (reply, answer) = oneshot::channel();
            jobs.send((message, reply)).expect("threads");
            Ok(tonic::Response::new(answer.await.expect("an answer")))
        })
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
    println!("listening grpc={}", server.addresses().grpc);
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
    Loaded { signature, device: "cpu".into(), engines: vec![Box::new(Identity)] }
}

struct Identity;

impl Engine for Identity {
    fn run(&mut self, inputs: &[Tensor], _outputs: &[ByteString], _interest: &Interest) -> Result<Vec<Tensor>> {
        let x = &inputs[0];
        Ok(vec![Tensor::new("y".into(), x.dtype(), x.shape().clone(), x.data().clone())?])
    }
}
