//! For tests: a repository on disk, a service that only carries a number, a loader that does as it is told.

use std::collections::HashMap;
use std::fs;
use std::future::{Ready as Done, ready};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use super::folder::Fingerprint;
use super::{LoadPlan, Loader, Merging, Ready, Served, Settings};
use crate::error::{Error, Kind, Result};
use crate::infer::{InferRequest, InferResponse, Target, Version, VersionChoice};
use crate::tensor::Signature;

/// A folder that is removed in the end.
pub(super) struct Disk(tempfile::TempDir);

impl Disk {
    /// With these files, each empty.
    pub(super) fn new(files: &[&str]) -> Disk {
        let disk = Disk(tempfile::tempdir().unwrap());
        for file in files {
            disk.write(file, "");
        }
        disk
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.root().join(file)
    }

    /// Puts a file down whole, as a careful operator does: another file takes its place.
    pub(super) fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let other = tempfile::NamedTempFile::new_in(self.root()).unwrap();
        fs::write(other.path(), text).unwrap();
        other.persist(path).unwrap();
    }

    pub(super) fn link(&self, target: &str, link: &str) {
        symlink(target, self.path(link)).unwrap();
    }

    pub(super) fn remove(&self, folder: &str) {
        fs::remove_dir_all(self.path(folder)).unwrap();
    }
}

/// A service that is only told from others.
#[derive(Debug, Clone)]
pub(super) struct Scripted {
    /// Counts the loads of one script from 1.
    pub(super) load: u32,
    _dropped: Arc<TellsDrop>,
}

#[derive(Debug)]
struct TellsDrop(Option<mpsc::SyncSender<std::thread::ThreadId>>);

impl Drop for TellsDrop {
    fn drop(&mut self) {
        if let Some(told) = &self.0 {
            let _ = told.send(std::thread::current().id());
        }
    }
}

impl Scripted {
    pub(super) fn new(load: u32) -> Scripted {
        Scripted { load, _dropped: Arc::new(TellsDrop(None)) }
    }
}

impl Service<InferRequest> for Scripted {
    type Response = InferResponse;
    type Error = Error;
    type Future = Done<Result<InferResponse>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: InferRequest) -> Self::Future {
        ready(Err(Error::unsupported("a scripted service answers nothing")))
    }
}

/// What a loader does with a version.
pub(super) enum Act {
    Load,
    Fail(&'static str),
    Panic,
    /// Says that it began, and loads once it is let go.
    Wait(mpsc::SyncSender<()>, mpsc::Receiver<()>),
}

/// A loader that does what was last said of a model's version, `"digits/1"`, and loads what nothing was said of.
#[derive(Clone, Default)]
pub(super) struct Script(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    acts: HashMap<String, Act>,
    loads: Vec<String>,
    running: usize,
    most_running: usize,
    drops: Option<mpsc::SyncSender<std::thread::ThreadId>>,
}

impl Script {
    pub(super) fn on(&self, version: &str, act: Act) {
        self.0.lock().unwrap().acts.insert(version.to_owned(), act);
    }

    /// Holds the next load of a version: tells when it began, and goes on when the other end is used or dropped.
    pub(super) fn hold(&self, version: &str) -> (mpsc::Receiver<()>, mpsc::SyncSender<()>) {
        let ((began, has_begun), (go, may_go)) = (mpsc::sync_channel(1), mpsc::sync_channel(1));
        self.on(version, Act::Wait(began, may_go));
        (has_begun, go)
    }

    /// What was loaded, in order.
    pub(super) fn loads(&self) -> Vec<String> {
        self.0.lock().unwrap().loads.clone()
    }

    /// The most loads that ran at one time.
    pub(super) fn most_running(&self) -> usize {
        self.0.lock().unwrap().most_running
    }

    /// Tells on which thread each service that is loaded from now on was dropped.
    pub(super) fn drops(&self) -> mpsc::Receiver<std::thread::ThreadId> {
        let (drops, told) = mpsc::sync_channel(16);
        self.0.lock().unwrap().drops = Some(drops);
        told
    }

    pub(super) fn loader(&self) -> Loader<Scripted> {
        let script = self.clone();
        Arc::new(move |plan| script.load(plan))
    }

    fn load(&self, plan: &LoadPlan) -> Result<Ready<Scripted>> {
        let (act, load, drops) = self.begin(&format!("{}/{}", plan.name, plan.version));
        let done = match act {
            Act::Load => Ok(()),
            Act::Fail(why) => Err(Error::new(Kind::Engine, why)),
            Act::Panic => panic!("as the script says"),
            Act::Wait(began, may_go) => {
                let _ = began.send(());
                let _ = may_go.recv_timeout(Duration::from_secs(30));
                Ok(())
            }
        };
        self.0.lock().unwrap().running -= 1;
        done.map(|()| loaded(Scripted { load, _dropped: Arc::new(TellsDrop(drops)) }))
    }

    fn begin(&self, version: &str) -> (Act, u32, Option<mpsc::SyncSender<std::thread::ThreadId>>) {
        let mut told = self.0.lock().unwrap();
        told.loads.push(version.to_owned());
        told.running += 1;
        told.most_running = told.most_running.max(told.running);
        (told.acts.remove(version).unwrap_or(Act::Load), told.loads.len() as u32, told.drops.clone())
    }
}

fn loaded(service: Scripted) -> Ready<Scripted> {
    let merging = Merging { axis: None, max_batch: 1 };
    Ready { service, signature: Arc::new(Signature::default()), merging, device: "cpu".into(), instances: 1 }
}

pub(super) fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

/// A version of the model `digits` as if `load` had given it.
pub(super) fn served(number: u64, load: u32) -> Arc<Served<Scripted>> {
    Arc::new(Served::new(&plan(number, Settings::default()), loaded(Scripted::new(load)), Duration::ZERO))
}

pub(super) fn plan(number: u64, settings: Settings) -> LoadPlan {
    LoadPlan {
        name: "digits".parse().unwrap(),
        version: version(number),
        file: format!("/models/digits/{number}/model.onnx").into(),
        folder: "/models/digits".into(),
        settings: Arc::new(settings),
        declared: Arc::default(),
        fingerprint: Fingerprint::default(),
    }
}

/// `"digits"`, `"digits/3"` or `"digits@stable"`.
pub(super) fn target(text: &str) -> Target {
    let (name, choice) = if let Some((name, number)) = text.split_once('/') {
        (name, VersionChoice::Exact(number.parse().unwrap()))
    } else if let Some((name, label)) = text.split_once('@') {
        (name, VersionChoice::Label(label.into()))
    } else {
        (text, VersionChoice::Latest)
    };
    Target { name: name.parse().unwrap(), version: choice }
}
