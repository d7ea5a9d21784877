//! What a call can go through: nothing, the gateway, and others that do the same, each a process on a core of its own.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;

use crate::rig::cores::{Core, Cores};
use crate::rig::load::Target;
use crate::rig::process::Process;

const NGINX: &str = include_str!("../peers/nginx.conf");
const HAPROXY: &str = include_str!("../peers/haproxy.cfg");

/// A way to the worker.
pub struct Side {
    pub name: &'static str,
    /// What stands between; nothing on the direct way.
    pub proxy: Option<Process>,
    /// What calls are sent to, where that is not the proxy.
    worker: Option<Process>,
    /// The files of the proxy.
    _folder: Option<TempDir>,
}

impl Side {
    /// Where calls go.
    fn door(&self) -> &Process {
        self.proxy.as_ref().or(self.worker.as_ref()).expect("one of them")
    }

    pub async fn target(&self, message: Bytes) -> Target {
        Target::model_infer(self.door(), message).await
    }
}

/// The ways, the direct one first and ours second, and why others are not among them.
pub struct Sides {
    pub all: Vec<Side>,
    pub missing: Vec<String>,
}

impl Sides {
    pub async fn start(cores: Cores) -> Sides {
        let worker = Process::myself_on(cores.behind, "stub").await;
        let address = worker.address.clone();
        let ours = gateway(cores.measured, &address).await;
        let direct = Side { name: "direct", proxy: None, worker: Some(worker), _folder: None };
        let ours = Side { name: "infergate", proxy: Some(ours), worker: None, _folder: None };
        let mut sides = Sides { all: vec![direct, ours], missing: Vec::new() };
        for peer in [Peer::nginx(), Peer::haproxy()] {
            match peer.start(cores.measured, &address).await {
                Ok(side) => sides.all.push(side),
                Err(why) => sides.missing.push(format!("{} is not compared: {why}", peer.name)),
            }
        }
        sides
    }
}

async fn gateway(core: Core, worker: &str) -> Process {
    // As many calls of the largest size as are in flight must fit: the others have no such bound.
    let roomy = ["--set", "limits.message_bytes=8GiB", "--set", "log.level=warn"];
    let process = Process::infergate_on(core, &[&["gateway", "--backend", worker][..], &roomy].concat()).await;
    Target::model_infer(&process, crate::message(256)).await.until_it_answers().await;
    process
}

/// A proxy that others make.
struct Peer {
    name: &'static str,
    program: &'static str,
    file: &'static str,
    settings: &'static str,
    arguments: fn(&Path, &Path) -> Vec<PathBuf>,
}

impl Peer {
    fn nginx() -> Peer {
        let arguments: fn(&Path, &Path) -> Vec<PathBuf> =
            |folder, file| vec!["-p".into(), folder.into(), "-e".into(), "stderr".into(), "-c".into(), file.into()];
        Peer { name: "nginx", program: "nginx", file: "nginx.conf", settings: NGINX, arguments }
    }

    fn haproxy() -> Peer {
        let arguments: fn(&Path, &Path) -> Vec<PathBuf> =
            |_, file| vec!["-db".into(), "-q".into(), "-f".into(), file.into()];
        Peer { name: "haproxy", program: "haproxy", file: "haproxy.cfg", settings: HAPROXY, arguments }
    }

    async fn start(&self, core: Core, worker: &str) -> Result<Side, String> {
        let program = found(self.program).ok_or("it is not installed (benches/peers/install)")?;
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let address = free_address();
        let file = folder.path().join(self.file);
        let settings = self.settings.replace("@LISTEN@", &address).replace("@WORKER@", worker);
        std::fs::write(&file, settings).map_err(|error| error.to_string())?;
        let mut command = core.command(program);
        command.args((self.arguments)(folder.path(), &file));
        let process = Process::told(command, address).await?;
        Ok(Side { name: self.name, proxy: Some(process), worker: None, _folder: Some(folder) })
    }
}

/// Debian has servers where ordinary users do not look.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// One that nobody listens at, for those that cannot choose one themselves and say so.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}
