//! A server under measurement: a process of its own, whose CPU and memory the kernel tells.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::cores::Core;

pub struct Process {
    child: Child,
    pub address: String,
    admin: Option<String>,
}

impl Process {
    /// `infergate` with these arguments, once it says that it listens.
    pub async fn infergate(arguments: &[&str]) -> Process {
        Process::infergate_on(Core::any(), arguments).await
    }

    /// The same on one core.
    pub async fn infergate_on(core: Core, arguments: &[&str]) -> Process {
        let mut command = core.command(env!("CARGO_BIN_EXE_infergate"));
        command.args(arguments).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        Process::start(command).await
    }

    /// This program as one of the floors.
    pub async fn myself(role: &str) -> Process {
        Process::myself_on(Core::any(), role).await
    }

    /// The same on one core.
    pub async fn myself_on(core: Core, role: &str) -> Process {
        let mut command = core.command(std::env::current_exe().expect("this program"));
        command.args(["--be", role]);
        Process::start(command).await
    }

    /// Another server, which does not say where it listens but was told, once it does.
    pub async fn told(mut command: Command, address: String) -> Result<Process, String> {
        let mut child = command.kill_on_drop(true).spawn().map_err(|error| error.to_string())?;
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(&address).await.is_ok() {
                return Ok(Process { child, address, admin: None });
            }
            if let Ok(Some(ended)) = child.try_wait() {
                return Err(format!("it ended with {ended}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("it does not listen at {address}"))
    }

    async fn start(mut command: Command) -> Process {
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.next_line().await.expect("its output").expect("the line that says where it listens");
        let told = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)).map(str::to_owned);
        Process { child, address: told("grpc=").expect("an address"), admin: told("admin=") }
    }

    /// Where it tells of itself.
    pub fn admin(&self) -> &str {
        self.admin.as_ref().expect("an admin port")
    }

    /// The sum of a metric over all its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = page(self.admin(), "/metrics");
        let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = text.lines().filter(is_it);
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// CPU time so far, of all its threads, also those that have ended.
    pub fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("its threads");
        let nanos = tasks.flatten().filter_map(|task| {
            let schedstat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            schedstat.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// How often its threads went to sleep so far.
    pub fn sleeps(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("its threads");
        let switches = tasks.flatten().filter_map(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"))?.to_owned();
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        switches.sum()
    }

    /// Resident memory, counted page by page: what `status` says is a sum that some kernels keep only roughly.
    pub fn memory(&self) -> Memory {
        let told = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id())).expect("its memory");
        let of = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.expect("a number of kilobytes") * 1024
        };
        let own = of("Anonymous");
        Memory { own, of_files: of("Rss") - own }
    }

    /// Its number in the system.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}

/// Resident memory in bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    /// What the process alone has: heap, stacks, data that was written.
    pub own: u64,
    /// Pages of its program and its libraries. Other processes share them, the kernel drops them when it wants, and how
    /// many it maps around one that is touched depends on how they came into its cache: of a library that was just
    /// written it maps larger pieces.
    pub of_files: u64,
}

/// What an admin port tells at `path`, with its head.
pub fn page(admin: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(admin).expect("a connection");
    let question = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).expect("a question");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}
