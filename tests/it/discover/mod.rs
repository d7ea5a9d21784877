//! Finding backends, as a gateway does it: the real clients against an API server and a name server that misbehave.

mod in_pod;
mod kubernetes;
mod names;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use infergate::discover::{Backends, Discovery, Settings, Source, start};
use tokio::task::JoinHandle;

use crate::harness::{eventually, within};

/// A running discovery, and every set that it gave.
struct Found {
    discovery: Discovery,
    history: Arc<Mutex<Vec<Vec<String>>>>,
    listening: JoinHandle<()>,
}

impl Found {
    fn by(source: Source, settings: Settings) -> Found {
        Found::by_all(vec![source], settings)
    }

    fn by_all(sources: Vec<Source>, settings: Settings) -> Found {
        let discovery = start(sources, settings).unwrap();
        let (history, mut backends) = (Arc::new(Mutex::new(Vec::new())), discovery.backends.clone());
        let all = history.clone();
        let listening = tokio::spawn(async move {
            loop {
                all.lock().unwrap().push(texts(&backends.borrow_and_update()));
                if backends.changed().await.is_err() {
                    return;
                }
            }
        });
        Found { discovery, history, listening }
    }

    /// Waits until exactly these are known, by address and condition.
    #[track_caller]
    fn becomes(&self, expected: &[&str]) -> impl Future<Output = ()> {
        let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        let (mut backends, known) = (self.discovery.backends.clone(), self.discovery.backends.clone());
        let listed = within(async move { backends.wait_for(|set| texts(set) == expected).await.map(drop) });
        async move { listed.await.unwrap_or_else(|_| panic!("ended with {:?}", texts(&known.borrow()))) }
    }

    /// Waits until the last answer is younger than `age`.
    #[track_caller]
    fn is_fresh(&self, age: Duration) -> impl Future<Output = ()> {
        let lives = self.discovery.lives.clone();
        eventually("fresh", async move || lives.stale_for(Instant::now()).is_some_and(|stale| stale < age))
    }

    /// Waits until nobody has answered for `age`.
    #[track_caller]
    fn is_stale(&self, age: Duration) -> impl Future<Output = ()> {
        let lives = self.discovery.lives.clone();
        eventually("stale", async move || lives.stale_for(Instant::now()).is_some_and(|stale| stale > age))
    }

    /// Fails if one of these was ever missing since it was first known.
    fn never_lost(&self, expected: &[&str]) {
        let history = self.history.lock().unwrap();
        for text in expected {
            let missing: Vec<_> = history
                .iter()
                .skip_while(|set| !set.iter().any(|one| one == text))
                .filter(|set| !set.iter().any(|one| one == text))
                .collect();
            assert!(missing.is_empty(), "{text} is missing in {missing:?}");
        }
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn texts(backends: &Backends) -> Vec<String> {
    backends.iter().map(|backend| format!("{} {}", backend.address, backend.condition)).collect()
}

/// For a Service of an API server that is reached so, with a watch that is known to be dead after 1.2 s.
fn settings(kubeconfig: PathBuf) -> Settings {
    Settings { kubeconfig: Some(kubeconfig), watch_timeout: Duration::from_secs(1), ..Settings::default() }
}

fn stored(settings: Settings, folder: &Path) -> Settings {
    Settings { store: Some(folder.join("backends.json")), ..settings }
}
