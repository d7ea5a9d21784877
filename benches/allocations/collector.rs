//! A collector of spans in a process of its own, and the traces of calls that are sent there.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use infergate::accept::Tracing;
use infergate::observe::otlp::{self, Protocol};
use infergate::observe::trace::{self, Sampler, Tracer};
use infergate::wire::trace::Propagators;
use tokio::net::TcpListener;

use crate::taking;

/// A collector that runs until this is dropped.
pub struct Collector {
    process: Child,
    address: SocketAddr,
}

impl Collector {
    /// Starts this very program as a collector.
    pub fn start() -> Collector {
        let program = std::env::current_exe().expect("this program has a name");
        let mut command = Command::new(program);
        let mut process =
            command.arg("--collector").stdout(Stdio::piped()).spawn().expect("a program starts that runs already");
        let mut line = String::new();
        let told = process.stdout.take().expect("it was asked for");
        BufReader::new(told).read_line(&mut line).expect("a line with an address");
        Collector { process, address: line.trim().parse().expect("an address") }
    }

    /// Traces of calls of which this part is recorded and sent here.
    pub fn tracing(&self, ratio: f64) -> Tracing {
        let sampler = Sampler { ratio, parent_based: true };
        let rules = trace::Rules { sampler, slow: Duration::from_secs(3600), queue: 2048 };
        let collector = otlp::Collector::at(format!("http://{}", self.address), Protocol::Grpc);
        let tracer = Tracer::start(rules, &collector).expect("a good address");
        Tracing { propagators: Propagators::STANDARD, tracer, ..Tracing::passing() }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It is gone already where that fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is a collector, which prints its address and takes what comes.
pub async fn be() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
    println!("{}", listener.local_addr().expect("it is bound"));
    taking::take(listener, Duration::ZERO).await;
}
