//! Who runs where. What is compared runs on one core, each alike, and what loads it on others: so that a server with
//! more threads gets no more of the machine than one with a single thread, and none pays for the client.

use std::ffi::OsStr;

use tokio::process::Command;

/// A core, or none in particular.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Core(Option<usize>);

impl Core {
    pub fn any() -> Core {
        Core(None)
    }

    /// A program that will run there.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let Core(Some(core)) = self else { return Command::new(program) };
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &core.to_string()]).arg(program);
        command
    }

    /// Has this process and what it starts run there.
    pub fn take(self) {
        if let Core(Some(core)) = self {
            let own = std::process::id().to_string();
            let taken = std::process::Command::new("taskset")
                .args(["--all-tasks", "--cpu-list", "--pid", &core.to_string(), &own])
                .stdout(std::process::Stdio::null())
                .status();
            assert!(taken.is_ok_and(|status| status.success()), "taskset works");
        }
    }
}

impl std::fmt::Display for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(core) => write!(f, "core {core}"),
            None => f.write_str("any core"),
        }
    }
}

/// Cores for the parts of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub load: Core,
    pub measured: Core,
    pub behind: Core,
}

impl Cores {
    /// One each; on two cores the load and what is behind share one, on a single one, or without `taskset`, nobody has
    /// a place.
    pub fn share() -> Cores {
        let has_taskset = std::process::Command::new("taskset").arg("--version").output().is_ok();
        let core = |core: usize| Core(Some(core));
        match allowed()[..] {
            [first, second, third, ..] if has_taskset => {
                Cores { load: core(first), measured: core(second), behind: core(third) }
            }
            [first, second] if has_taskset => Cores { load: core(first), measured: core(second), behind: core(first) },
            _ => Cores { load: Core::any(), measured: Core::any(), behind: Core::any() },
        }
    }
}

/// Cores that this process may run on.
fn allowed() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let range = |range: &str| {
        let (first, last) = range.trim().split_once('-').unwrap_or((range.trim(), range.trim()));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}
