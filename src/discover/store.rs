//! The last-known set on disk, so that a gateway that starts while nobody answers knows whom to call. Written beside and
//! renamed, so that there is always a whole file; a file that cannot be used is no file, and never an error.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Backend, Backends, Condition, Source};

/// No more than one write in so long.
const BETWEEN_WRITES: Duration = Duration::from_secs(1);

/// Where the last-known set is kept. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    latest: watch::Sender<Backends>,
}

/// The file. Fields may be added; what is missing of those that are there makes it unusable.
#[derive(Serialize, Deserialize)]
struct Saved {
    /// The sources as in their flags: a set from other sources is not ours.
    sources: Vec<String>,
    /// Seconds since 1970, for people.
    saved: u64,
    backends: Vec<SavedBackend>,
}

#[derive(Serialize, Deserialize)]
struct SavedBackend {
    address: std::net::SocketAddr,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    condition: SavedCondition,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavedCondition {
    Ready,
    Leaving,
    Unready,
}

impl Store {
    /// Reads what was kept for these sources. Returns the store, what it holds, and the loop that writes, which must be
    /// run somewhere.
    pub(super) fn open(path: PathBuf, sources: &[Source]) -> (Store, Backends, impl Future<Output = ()> + use<>) {
        let sources: Vec<String> = sources.iter().map(Source::to_string).collect();
        let known = load(&path, &sources);
        let (latest, changes) = watch::channel(known.clone());
        (Store { latest }, known, write_changes(path, sources, changes))
    }

    /// Keeps this set, within a second or two; returns at once.
    pub fn save(&self, backends: &Backends) {
        self.latest.send_if_modified(|latest| {
            let is_new = latest != backends;
            latest.clone_from(backends);
            is_new
        });
    }
}

/// What the file holds for these sources; nothing where it cannot be used.
fn load(path: &Path, sources: &[String]) -> Backends {
    let file = path.display();
    let saved = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice::<Saved>(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            info!(%file, "no backends are known from before");
            return Backends::default();
        }
        Err(error) => Err(error),
    };
    match saved {
        Ok(saved) if saved.sources == sources => {
            let backends: Backends = saved.backends.into_iter().map(Backend::from).collect();
            info!(%file, backends = backends.len(), "backends are known from before");
            backends
        }
        Ok(saved) => {
            warn!(%file, sources = ?saved.sources, "backends known from before are of other sources, left aside");
            Backends::default()
        }
        Err(why) => {
            warn!(%file, %why, "backends known from before cannot be read, left aside");
            Backends::default()
        }
    }
}

/// Writes every change, the last one for sure. Ends with the store.
async fn write_changes(path: PathBuf, sources: Vec<String>, mut changes: watch::Receiver<Backends>) {
    let mut is_failing = false;
    while changes.changed().await.is_ok() {
        let set = changes.borrow_and_update().clone();
        let (path, sources) = (path.clone(), sources.clone());
        let file = path.display().to_string();
        let written = tokio::task::spawn_blocking(move || write(&path, sources, &set)).await;
        match written.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(()) => is_failing = false,
            Err(why) if !is_failing => {
                warn!(file, %why, "backends cannot be kept for the next start");
                is_failing = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(BETWEEN_WRITES).await;
    }
}

fn write(path: &Path, sources: Vec<String>, set: &Backends) -> io::Result<()> {
    let saved = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let saved = Saved { sources, saved, backends: set.iter().map(SavedBackend::from).collect() };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(&saved)?)?;
    // Without this, a machine that dies now may come back with the new name and none of the bytes.
    file.sync_all()?;
    fs::rename(&beside, path)
}

impl From<&Backend> for SavedBackend {
    fn from(backend: &Backend) -> SavedBackend {
        SavedBackend {
            address: backend.address,
            name: backend.name.to_string(),
            host: backend.host.as_ref().map(ToString::to_string),
            zone: backend.zone.as_ref().map(ToString::to_string),
            condition: match backend.condition {
                Condition::Ready => SavedCondition::Ready,
                Condition::Leaving => SavedCondition::Leaving,
                Condition::Unready => SavedCondition::Unready,
            },
        }
    }
}

impl From<SavedBackend> for Backend {
    fn from(saved: SavedBackend) -> Backend {
        Backend {
            address: saved.address,
            name: saved.name.into(),
            host: saved.host.map(Into::into),
            zone: saved.zone.map(Into::into),
            condition: match saved.condition {
                SavedCondition::Ready => Condition::Ready,
                SavedCondition::Leaving => Condition::Leaving,
                SavedCondition::Unready => Condition::Unready,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Vec<Source> {
        vec![Source::Kubernetes(text.parse().unwrap())]
    }

    fn some() -> Backends {
        let plain = Backend::at("10.0.0.1:8001".parse().unwrap());
        let full = Backend {
            name: "worker-1".into(),
            host: Some("worker-1.workers".into()),
            zone: Some("b".into()),
            condition: Condition::Leaving,
            ..Backend::at("[fd00::1]:8001".parse().unwrap())
        };
        [plain, full].into_iter().collect()
    }

    #[tokio::test]
    async fn what_was_saved_is_known_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backends.json");
        let (store, known, writing) = Store::open(path.clone(), &sources("ml/workers"));
        assert!(known.is_empty());
        store.save(&some());
        drop(store);
        writing.await;
        let (_, known, _) = Store::open(path.clone(), &sources("ml/workers"));
        assert_eq!(known, some());
        let (_, known, _) = Store::open(path, &sources("ml/others"));
        assert!(known.is_empty(), "another Service's backends are not this one's");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backends.json");
        write(&path, vec!["ml/workers".to_owned()], &some()).unwrap();
        let whole = fs::read(&path).unwrap();
        for bad in [&b""[..], b"{}", b"[1]", &whole[..whole.len() / 2]] {
            fs::write(&path, bad).unwrap();
            assert!(load(&path, &["ml/workers".to_owned()]).is_empty());
        }
        assert!(load(folder.path(), &["ml/workers".to_owned()]).is_empty(), "a folder");
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_refuses_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("backends.json");
        for can_be_written in [false, true] {
            let (store, _, writing) = Store::open(path.clone(), &sources("ml/workers"));
            store.save(&some());
            drop(store);
            writing.await;
            assert_eq!(!load(&path, &["ml/workers".to_owned()]).is_empty(), can_be_written);
            fs::create_dir_all(folder.path().join("missing")).unwrap();
        }
    }
}
