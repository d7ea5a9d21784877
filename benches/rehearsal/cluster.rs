//! Gateways and workers as processes that are killed, frozen, stopped and started again, each at the address that it
//! keeps.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::worker;

/// How long a process that was told to stop still takes calls, so that others notice.
pub const ANNOUNCE: &str = "200ms";
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process, whatever becomes of it.
pub struct Process {
    arguments: Vec<String>,
    program: String,
    /// Where it takes calls.
    pub address: String,
    admin: String,
    child: Option<Child>,
}

/// Gateways, each of which knows all the workers.
pub struct Cluster {
    pub workers: Vec<Process>,
    pub gateways: Vec<Process>,
    _models: TempDir,
}

impl Cluster {
    pub async fn start(workers: usize, gateways: usize) -> Cluster {
        let models = worker::repository();
        let mut cluster = Cluster { workers: Vec::new(), gateways: Vec::new(), _models: models };
        for _ in 0..workers {
            let folder = cluster._models.path().display().to_string();
            cluster.workers.push(Process::worker(&folder).await);
        }
        let backends: Vec<String> = cluster.workers.iter().map(|worker| worker.address.clone()).collect();
        for _ in 0..gateways {
            cluster.gateways.push(Process::gateway(&backends).await);
        }
        cluster.whole().await;
        cluster
    }

    /// Until every gateway is connected with every worker and lets calls go there.
    pub async fn whole(&self) {
        let began = Instant::now();
        for gateway in &self.gateways {
            while gateway.admitting().await < self.workers.len() {
                assert!(began.elapsed() < PATIENCE, "a gateway does not find all its workers again");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

impl Process {
    async fn worker(folder: &str) -> Process {
        let program = std::env::current_exe().expect("this program").display().to_string();
        let address = free_address();
        let arguments = vec!["--be".to_owned(), format!("{address},{folder}")];
        Process::run(program, arguments, address).await
    }

    async fn gateway(backends: &[String]) -> Process {
        let address = free_address();
        let settings = [format!("drain.announce={ANNOUNCE}"), "log.level=error".into()];
        let mut arguments: Vec<String> =
            ["gateway", "--listen", &address, "--admin", "127.0.0.1:0"].map(Into::into).into();
        arguments.extend(backends.iter().flat_map(|backend| ["--backend".into(), backend.clone()]));
        arguments.extend(settings.into_iter().flat_map(|setting| ["--set".into(), setting]));
        Process::run(env!("CARGO_BIN_EXE_infergate").to_owned(), arguments, address).await
    }

    async fn run(program: String, arguments: Vec<String>, address: String) -> Process {
        let mut process = Process { arguments, program, address, admin: String::new(), child: None };
        process.start().await;
        process
    }

    /// Starts it where it is not running, and waits until it says that it listens.
    pub async fn start(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the process starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        self.child = Some(child);
        let line = timeout(PATIENCE, lines.next_line()).await.expect("a line in time");
        let line = line.expect("its output").expect("the line that says where it listens");
        let admin = line.split(' ').find_map(|word| word.strip_prefix("admin="));
        self.admin = admin.expect("an admin port").to_owned();
    }

    /// Ends it as a crash does, and waits until it is gone.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.expect("it is killed");
    }

    /// Stops it gently, and waits until it has let its calls finish.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        let mut child = self.child.take().expect("it runs");
        let status = timeout(PATIENCE, child.wait()).await.expect("an end in time").expect("an end");
        assert!(status.success(), "it ended with {status}");
    }

    /// Keeps it from running, as a machine without CPU does; its connections stay.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs");
        kill_process(Pid::from_raw(id as i32).expect("an id"), signal).expect("a signal");
    }

    /// Workers that this gateway would send calls to.
    async fn admitting(&self) -> usize {
        let answer = timeout(PATIENCE, self.endpoints()).await.expect("an answer in time");
        let endpoints = answer["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
        let admits = |endpoint: &&Value| {
            let model = &endpoint["models"][0];
            endpoint["connection"] == "connected" && model["breaker"] == "admitting" && model["versions"][0].is_string()
        };
        endpoints.iter().filter(admits).count()
    }

    async fn endpoints(&self) -> Value {
        let mut stream = TcpStream::connect(&self.admin).await.expect("a connection");
        let question = b"GET /endpoints HTTP/1.1\r\nhost: rehearsal\r\nconnection: close\r\n\r\n";
        stream.write_all(question).await.expect("a question");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        let body = text.find('{').map_or("", |at| &text[at..=text.rfind('}').unwrap_or(at)]);
        serde_json::from_str(body).expect("endpoints")
    }
}

/// An address that is free now: who comes back must have the one that it had.
fn free_address() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("its address").to_string()
}
