//! A server under measurement: a process of its own, whose CPU and memory the kernel tells.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub struct Process {
    child: Child,
    pub address: String,
}

impl Process {
    /// `infergate` with these arguments, once it says that it listens.
    pub async fn infergate(arguments: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infergate"));
        command.args(arguments).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        Process::start(command).await
    }

    /// This program as one of the floors.
    pub async fn myself(role: &str) -> Process {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--be", role]);
        Process::start(command).await
    }

    async fn start(mut command: Command) -> Process {
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let line = lines.next_line().await.expect("its output").expect("the line that says where it listens");
        let address = line.split_once("grpc=").expect("an address").1;
        let address = address.split(' ').next().unwrap_or(address).to_owned();
        Process { child, address }
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

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("its status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}
