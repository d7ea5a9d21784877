//! A worker whose model takes its time as a device does, so that five of them are not one short of CPU.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use infergate::compute::{Engine, Loaded};
use infergate::config::{Config, Overrides};
use infergate::error::Result;
use infergate::infer::Interest;
use infergate::role::Server;
use infergate::tensor::{DType, Dim, Signature, Tensor, TensorSpec};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// The model. It gives its input back, one call at a time.
pub const MODEL: &str = "echo";
/// How long a run takes.
pub const RUN: Duration = Duration::from_millis(10);

/// A repository with the model.
pub fn repository() -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let version = root.path().join(MODEL).join("1");
    std::fs::create_dir_all(&version).expect("a folder");
    std::fs::write(version.join("model.onnx"), b"scripted").expect("a file");
    std::fs::write(root.path().join(MODEL).join("model.toml"), "pure = true\nbatch.max_batch = 1").expect("a file");
    root
}

/// `ADDRESS,FOLDER`: serves the repository there until it is told to stop, and then stops as `infergate worker` does.
pub async fn serve(role: &str) {
    let (address, folder) = role.split_once(',').expect("an address and a folder");
    let flags = Overrides::default()
        .flag("listen", "listen", Some(address))
        .flag("admin", "admin", Some("127.0.0.1:0"))
        .flag("models", "models", Some(folder))
        .flag("report", "load_report", Some(true))
        .flag("announce", "drain.announce", Some(crate::cluster::ANNOUNCE));
    let config = Config::load(None, std::iter::empty(), flags).expect("a configuration");
    let mut stop = signal(SignalKind::terminate()).expect("signals");
    let server = Server::start(&config, Arc::new(|_, _| Ok(loaded()))).await.expect("a server");
    println!("listening grpc={} admin={}", server.addresses().grpc, server.addresses().admin);
    stop.recv().await;
    server.drain().await;
}

fn loaded() -> Loaded {
    let spec = |name: &'static str| TensorSpec {
        name: ByteString::from_static(name),
        dtype: DType::Uint64,
        dims: vec![Dim::Fixed(1)],
        optional: false,
    };
    let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
    Loaded { signature, device: "scripted".into(), engines: vec![Box::new(Echo)], arenas: Vec::new() }
}

struct Echo;

impl Engine for Echo {
    #[allow(clippy::disallowed_methods, reason = "a device that takes its time")]
    fn run(&mut self, inputs: &[Tensor], _outputs: &[ByteString], _interest: &Interest) -> Result<Vec<Tensor>> {
        let x = &inputs[0];
        std::thread::sleep(RUN);
        Ok(vec![Tensor::new("y".into(), x.dtype(), x.shape().clone(), x.data().clone())?])
    }
}
