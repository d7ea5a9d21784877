//! Infergate over an engine that only takes time, as a device does: so long for a run and so long for each row.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use infergate::compute::{Engine, Loaded};
use infergate::config::{Config, Overrides};
use infergate::error::Result;
use infergate::infer::Interest;
use infergate::role::Server;
use infergate::tensor::{DType, Dim, Signature, Tensor, TensorSpec};

/// `FOLDER,MICROS,MICROS`: the repository, the time of a run, and of each row in it.
pub async fn serve(role: &str) {
    let mut parts = role.split(',');
    let mut next = || parts.next().expect("a folder and two times");
    let folder = next().to_owned();
    let [run, row] = [next(), next()].map(|micros| Duration::from_micros(micros.parse().expect("a number")));
    let flags = Overrides::default()
        .flag("listen", "listen", Some("127.0.0.1:0"))
        .flag("admin", "admin", Some("127.0.0.1:0"))
        .flag("models", "models", Some(folder));
    let config = Config::load(None, std::iter::empty(), flags).expect("a configuration");
    let engines = move |_: &_, _| Ok(loaded(run, row));
    let server = Server::start(&config, Arc::new(engines)).await.expect("a server");
    println!("listening grpc={} admin={}", server.addresses().grpc, server.addresses().admin);
    std::future::pending::<()>().await;
}

fn loaded(run: Duration, row: Duration) -> Loaded {
    let spec = |name: &'static str| TensorSpec {
        name: ByteString::from_static(name),
        dtype: DType::Fp32,
        dims: vec![Dim::Free(Some("batch".into())), Dim::Free(Some("length".into()))],
        optional: false,
    };
    let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
    Loaded { signature, device: "scripted".into(), engines: vec![Box::new(Timed { run, row })], arenas: Vec::new() }
}

struct Timed {
    run: Duration,
    row: Duration,
}

impl Engine for Timed {
    #[allow(clippy::disallowed_methods, reason = "a device that takes its time")]
    fn run(&mut self, inputs: &[Tensor], _outputs: &[ByteString], _interest: &Interest) -> Result<Vec<Tensor>> {
        let x = &inputs[0];
        std::thread::sleep(self.run + self.row * x.shape()[0] as u32);
        Ok(vec![Tensor::new("y".into(), x.dtype(), x.shape().clone(), x.data().clone())?])
    }
}
