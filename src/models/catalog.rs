//! What is served, and the loop around it: look at the repository, work out what to do, have it loaded on a blocking
//! thread, exchange the table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use super::repository::{Contents, Found, Repository, RepositoryError, Scan};
use super::served::{LoadPlan, Ready, Served};
use super::state::{Model, Reason, reason};
use super::table::{IndexEntry, Table};
use super::turns::Turns;
use super::work::{Outcome, Work};
use crate::error::{Error, Kind, Result};
use crate::infer::{Infer, ModelName, Target, Version};

/// Loads one version and warms it up, on a thread that may block. What it says when it cannot is shown to clients.
pub type Loader<S> = Arc<dyn Fn(&LoadPlan) -> Result<Ready<S>> + Send + Sync>;

/// What is served. Clones are handles to the same.
///
/// Calls read one immutable table and never wait for a load. Loads and unloads of one model happen one after the other.
#[derive(Clone)]
pub struct Catalog<S: Infer> {
    inner: Arc<Inner<S>>,
}

struct Inner<S: Infer> {
    repository: Repository,
    loader: Loader<S>,
    table: ArcSwap<Table<S>>,
    /// Room for loads: each takes memory and CPUs that the models which serve need, too.
    room: Semaphore,
    turns: Turns,
    news: News,
    changes: watch::Sender<u64>,
}

/// How loading the whole repository went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Versions that serve.
    pub ready: usize,
    /// Models of which something could not be loaded, each with the reason, sorted.
    pub broken: Vec<(ModelName, String)>,
    /// How long it took.
    pub took: Duration,
}

impl<S: Infer> Catalog<S> {
    /// A catalog of nothing yet, over `repository`. At most `load_concurrency` loads run at one time.
    pub fn new(repository: Repository, loader: Loader<S>, load_concurrency: usize) -> Catalog<S> {
        let inner = Inner {
            repository,
            loader,
            table: ArcSwap::from_pointee(Table::empty()),
            room: Semaphore::new(load_concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            turns: Turns::default(),
            news: News::default(),
            changes: watch::Sender::new(0),
        };
        Catalog { inner: Arc::new(inner) }
    }

    /// What serves a call.
    ///
    /// # Errors
    /// `UnknownModel` for a model, a version or a label that is not known, `NotReady` with the reason for one that is.
    pub fn resolve(&self, target: &Target) -> Result<Arc<Served<S>>> {
        self.inner.table.load().resolve(target).cloned()
    }

    /// Whether a call for it would be served.
    pub fn is_ready(&self, target: &Target) -> bool {
        self.inner.table.load().resolve(target).is_ok()
    }

    /// The versions of a model that serve, in rising order.
    ///
    /// # Errors
    /// `UnknownModel`.
    pub fn versions(&self, name: &ModelName) -> Result<Vec<Version>> {
        let table = self.inner.table.load();
        let model = table.get(name).ok_or_else(|| unknown(name))?;
        Ok(model.ready().map(|served| served.version).collect())
    }

    /// Every version that serves, by model and version.
    pub fn served(&self) -> Vec<Arc<Served<S>>> {
        self.inner.table.load().served()
    }

    /// Every version of every model that is or was wanted, by name and version.
    pub fn index(&self) -> Vec<IndexEntry> {
        self.inner.table.load().index()
    }

    /// Whether the repository was looked at, and every model serves in some version unless it was unloaded.
    pub fn all_ready(&self) -> bool {
        self.inner.table.load().is_ready()
    }

    /// A number that rises with each change of what the other functions here answer.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Loads every model of the repository. A broken one stops no other; what is wrong with it is in the log, the index
    /// and the summary. Dropping the future leaves models unloaded that still wait.
    ///
    /// # Errors
    /// Where the repository itself cannot be read.
    pub async fn load_all(&self) -> Result<Summary, RepositoryError> {
        let began = Instant::now();
        let scan = self.inner.clone().look(|repository| repository.scan()).await?;
        for (folder, why) in &scan.skipped {
            tracing::warn!(folder, reason = why, "folder is not a model");
        }
        self.inner.announce(&scan);
        let mut loads = JoinSet::new();
        for found in scan.models {
            let inner = self.inner.clone();
            loads.spawn(async move {
                let _turn = inner.turns.take(&found.name).await;
                let name = found.name.clone();
                inner.install(found).await.map_err(|error| (name, error.message().to_owned()))
            });
        }
        let done = loads.join_all().await;
        let mut broken: Vec<(ModelName, String)> = done.into_iter().filter_map(Result::err).collect();
        broken.sort();
        let summary = Summary { ready: self.served().len(), broken, took: began.elapsed() };
        tracing::info!(
            ready = summary.ready,
            broken = summary.broken.len(),
            ms = millis(summary.took),
            "models loaded"
        );
        Ok(summary)
    }

    /// Looks at a model's folder again and serves what its settings now ask for. What did not change is kept; what did
    /// is loaded first and exchanged then, without a moment in which the model does not answer. Where anything fails
    /// nothing is taken away that serves. The load goes on when the caller leaves.
    ///
    /// # Errors
    /// `UnknownModel` where the repository has no such model, `Unloadable` with the reason.
    pub async fn load(&self, name: &ModelName) -> Result<()> {
        let turn = self.inner.turns.take(name).await;
        let (inner, name) = (self.inner.clone(), name.clone());
        let load = tokio::spawn(async move {
            let _turn = turn;
            inner.reload(&name).await
        });
        load.await.unwrap_or_else(|error| Err(interrupted(error)))
    }

    /// Takes a model out of service at once. Calls in flight finish. It stays in the index, and can be loaded again.
    ///
    /// # Errors
    /// `UnknownModel`.
    pub async fn unload(&self, name: &ModelName) -> Result<()> {
        let _turn = self.inner.turns.take(name).await;
        let current = self.inner.table.load().get(name).cloned().ok_or_else(|| unknown(name))?;
        let (next, retired) = current.unloaded();
        self.inner.put(name, next);
        log_retired(&retired);
        Ok(())
    }
}

impl<S: Infer> Inner<S> {
    /// Reads the repository on a thread that may block.
    async fn look<T: Send + 'static>(
        self: Arc<Self>,
        look: impl FnOnce(&Repository) -> Result<T, RepositoryError> + Send + 'static,
    ) -> Result<T, RepositoryError> {
        let look = tokio::task::spawn_blocking(move || look(&self.repository));
        look.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(RepositoryError::stopping()),
        })
    }

    /// Puts models that are not known yet into the table, so that they are loading rather than unknown.
    fn announce(&self, scan: &Scan) {
        let model = |found: &Found| match &found.contents {
            Ok(contents) => Model::begun(None, &Work::new::<S>(None, &found.name, contents)),
            Err(why) => Model::failed(None, reason(why)),
        };
        let models: Vec<_> = scan.models.iter().map(|found| (found.name.clone(), Arc::new(model(found)))).collect();
        self.table.rcu(|table| table.with_new(&models));
        self.changed();
    }

    async fn reload(self: &Arc<Self>, name: &ModelName) -> Result<()> {
        let wanted = name.clone();
        let found = self.clone().look(move |repository| repository.find(&wanted)).await;
        match found {
            Ok(Some(found)) => self.install(found).await,
            Ok(None) => {
                let message = format!("model {:?} is not in the repository", name.as_str());
                Err(Error::new(Kind::UnknownModel, message))
            }
            Err(error) => {
                // The path is for the log; the client gets no more than that.
                tracing::error!(%error, "repository cannot be read");
                Err(unloadable(name, "the repository cannot be read"))
            }
        }
    }

    /// Serves what a model's folder asks for. Whoever calls it has the model's turn.
    async fn install(self: &Arc<Self>, found: Found) -> Result<()> {
        let name = &found.name;
        let current = self.table.load().get(name).cloned();
        let contents = match found.contents {
            Ok(contents) => contents,
            Err(why) => {
                tracing::error!(model = %name, reason = why, "model cannot be loaded");
                self.put(name, Model::failed(current.as_deref(), reason(&why)));
                return Err(unloadable(name, &why));
            }
        };
        let work = Work::new(current.as_deref(), name, &contents);
        let advice = advice(&contents, &work);
        if self.news.is_new(name, &advice) {
            for advice in advice {
                tracing::warn!(model = %name, advice, "model settings");
            }
        }
        let begun = Model::begun(current.as_deref(), &work);
        self.put(name, begun.clone());
        let mut outcomes = Vec::new();
        for plan in &work.load {
            outcomes.push((plan.version, self.load_one(plan).await));
        }
        let failures = failures(&work, &outcomes);
        for failure in &failures {
            tracing::error!(model = %name, reason = failure, "model cannot be loaded");
        }
        let (settled, retired) = begun.settled(&work, outcomes);
        self.put(name, settled);
        log_retired(&retired);
        if failures.is_empty() { Ok(()) } else { Err(unloadable(name, &failures.join("; "))) }
    }

    /// Loads one version as soon as there is room.
    async fn load_one(self: &Arc<Self>, plan: &LoadPlan) -> Result<Arc<Served<S>>, Reason> {
        let _room = self.room.acquire().await.expect("the room is never closed");
        let began = Instant::now();
        let (loader, wanted) = (self.loader.clone(), plan.clone());
        let loaded = tokio::task::spawn_blocking(move || loader(&wanted)).await;
        let ready = loaded.unwrap_or_else(|error| Err(interrupted(error))).map_err(|error| reason(error.message()))?;
        let served = Served::new(plan, ready, began.elapsed());
        tracing::info!(
            model = %served.name,
            version = %served.version,
            ms = millis(served.load_time),
            device = %served.device,
            instances = served.instances,
            "model loaded"
        );
        Ok(Arc::new(served))
    }

    /// Exchanges one model in the table.
    fn put(&self, name: &ModelName, model: Model<S>) {
        let model = Arc::new(model);
        self.table.rcu(|table| table.with(name, model.clone()));
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// What could not be loaded, a text for each version.
fn failures<S: Infer>(work: &Work, outcomes: &[Outcome<S>]) -> Vec<String> {
    let failed = outcomes.iter().filter_map(|(version, outcome)| Some((version, outcome.as_ref().err()?)));
    let broken = work.broken.iter().map(|(version, reason)| (version, reason));
    let mut failures: Vec<(&Version, &Reason)> = failed.chain(broken).collect();
    failures.sort();
    failures.into_iter().map(|(version, reason)| format!("version {version}: {reason}")).collect()
}

/// What somebody should know of a model's settings.
fn advice(contents: &Contents, work: &Work) -> Vec<String> {
    let dangling = |label| format!("version label {label:?} means a version that is not served");
    contents.advice.iter().cloned().chain(work.dangling_labels().into_iter().map(dangling)).collect()
}

/// What was last logged of a model, so that a load that finds the same again says nothing. It keeps no more models than
/// the table has.
#[derive(Debug, Default)]
struct News(Mutex<HashMap<ModelName, Vec<String>>>);

impl News {
    fn is_new(&self, name: &ModelName, advice: &[String]) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if advice.is_empty() { told.remove(name) } else { told.insert(name.clone(), advice.to_vec()) };
        before.as_deref() != Some(advice)
    }
}

fn log_retired<S: Infer>(retired: &[Arc<Served<S>>]) {
    for served in retired {
        tracing::info!(model = %served.name, version = %served.version, "model unloaded");
    }
}

fn unknown(name: &ModelName) -> Error {
    Error::new(Kind::UnknownModel, format!("model {:?} is not known", name.as_str()))
}

fn unloadable(name: &ModelName, why: &str) -> Error {
    Error::new(Kind::Unloadable, format!("model {:?} cannot be loaded: {}", name.as_str(), reason(why)))
}

/// A task that did not end by itself: it panicked, which the panic's own message in the log explains, or the process
/// stops.
fn interrupted(error: JoinError) -> Error {
    if error.is_panic() {
        Error::new(Kind::Engine, "loading it panicked, see the log")
    } else {
        Error::new(Kind::Draining, "the server is stopping")
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests;
