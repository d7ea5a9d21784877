//! Who exists: backends out of a fixed list, DNS or Kubernetes, as one set that is always complete. A source that fails
//! keeps what it said last; nothing here ever takes a backend away because somebody could not be asked.
//!
//! Each source is a task that follows it and tells all that it knows (`Source`); one task puts the parts together and
//! hands on the set. What is decided is decided in files without I/O (`slices`, `slices/following`, `union`, `settling`,
//! `guard`). Whoever uses the set passes it through a `Guard`, since only they know what is connected, and gives the
//! guarded set back to the `Store` for the next start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use backend::{Backend, Backends, Change, Condition};
pub use backoff::{Backoff, Pace};
pub use guard::Guard;
pub use life::{Lives, SourceLife};
pub use source::{DnsName, Host, HostPort, KubernetesService, PortRef, Source, SourceError};
pub use store::Store;

use dns::Resolver;
use feed::Feed;
use slices::cluster::Cluster;

mod backend;
mod backoff;
mod dns;
mod feed;
mod fixed;
mod guard;
mod life;
mod outage;
mod settling;
mod slices;
mod source;
mod store;
mod union;

/// How sources are asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the cluster's API server is and who we are; without one, `KUBECONFIG`, `~/.kube/config` and the account of
    /// the pod are tried, in this order.
    pub kubeconfig: Option<PathBuf>,
    /// The file for the last-known set; without one, it is not kept.
    pub store: Option<PathBuf>,
    /// The longest time between two look-ups of a name; records with less time to live are asked for earlier, but not
    /// more than once in a second.
    pub dns_interval: Duration,
    /// Servers to ask for names instead of those of the system.
    pub name_servers: Vec<SocketAddr>,
    /// After how long the API server ends a watch. One that is silent for a fifth longer is dead, so that a connection
    /// whose other end is gone is noticed after six fifths of this. In whole seconds, at least one.
    pub watch_timeout: Duration,
}

/// 25 s, so that a dead watch is noticed after 30 s.
const WATCH_TIMEOUT: Duration = Duration::from_secs(25);

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            kubeconfig: None,
            store: None,
            dns_interval: Duration::from_secs(30),
            name_servers: Vec::new(),
            watch_timeout: WATCH_TIMEOUT,
        }
    }
}

/// Why discovery does not start: it was told something that cannot work. What may work later is no such thing.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing to ask.
    #[error("no backends are given, neither a list nor a name nor a Service")]
    NoSources,
    /// How to reach the cluster is not known.
    #[error("cannot tell how to reach the cluster: {0}")]
    Cluster(String),
    /// How to look up names is not known.
    #[error("cannot tell how to look up names: {0}")]
    Names(String),
}

/// What a running discovery gives. Dropping it ends it.
#[derive(Debug)]
pub struct Discovery {
    /// All backends that are known, of every condition. The first set is the one that was kept from the last run; it
    /// becomes and stays what the sources said last. Only an answer that says so makes it empty again.
    pub backends: watch::Receiver<Backends>,
    /// How old the answers are.
    pub lives: Lives,
    /// Where the consumer keeps the set that it uses, for the next start; `None` where none was asked for.
    pub store: Option<Store>,
    _tasks: JoinSet<()>,
}

impl Discovery {
    /// How long ago the source that has been silent for longest last gave a sign of life; `None` where nobody is asked.
    pub fn stale_for(&self, now: Instant) -> Option<Duration> {
        self.lives.stale_for(now)
    }
}

/// Starts to follow every source, as one union. Must be called within a Tokio runtime, and reads small files.
pub fn start(sources: Vec<Source>, settings: Settings) -> Result<Discovery, StartError> {
    if sources.is_empty() {
        return Err(StartError::NoSources);
    }
    let mut tasks = JoinSet::new();
    let (store, remembered) = match &settings.store {
        Some(path) => {
            let (store, remembered, writing) = Store::open(path.clone(), &sources);
            tasks.spawn(writing);
            (Some(store), remembered)
        }
        None => (None, Backends::default()),
    };
    let sources = fixed::split(sources);
    let names = sources.iter().map(|source| (source.to_string(), fixed::addresses(source).is_none()));
    let lives = Lives::new(names, feed::now());
    let (feeds, backends, joined) = feed::join(&lives, sources.len(), remembered);
    tasks.spawn(joined);
    let asked = Asked { settings, cluster: None };
    asked.follow(sources, feeds, &mut tasks)?;
    Ok(Discovery { backends, lives, store, _tasks: tasks })
}

/// Whom sources are asked of.
struct Asked {
    settings: Settings,
    cluster: Option<Cluster>,
}

impl Asked {
    fn follow(mut self, sources: Vec<Source>, feeds: Vec<Feed>, tasks: &mut JoinSet<()>) -> Result<(), StartError> {
        for (source, feed) in sources.into_iter().zip(feeds) {
            match source {
                Source::Fixed(list) => drop(tasks.spawn(async move { feed.tell(fixed::backends(&list)).await })),
                Source::Dns(name) => {
                    let resolver = Resolver::new(&self.settings.name_servers).map_err(StartError::Names)?;
                    tasks.spawn(dns::follow(name, resolver, self.settings.dns_interval, feed));
                }
                Source::Kubernetes(service) => {
                    let cluster = self.cluster()?;
                    tasks.spawn(slices::watch::follow(cluster, service, feed));
                }
            }
        }
        Ok(())
    }

    /// One for all Services, so that their requests together keep to one pace.
    fn cluster(&mut self) -> Result<Cluster, StartError> {
        if let Some(cluster) = &self.cluster {
            return Ok(cluster.clone());
        }
        let kubeconfig = self.settings.kubeconfig.as_deref();
        let cluster = Cluster::new(kubeconfig, self.settings.watch_timeout).map_err(StartError::Cluster)?;
        Ok(self.cluster.insert(cluster).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_watch_is_noticed_within_35_seconds() {
        let settings = Settings::default();
        assert!(slices::watch::dead_after(settings.watch_timeout) <= Duration::from_secs(35));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_are_written_down_are_known_at_once() {
        let list = vec!["10.0.0.1:8001".parse().unwrap(), "[fd00::1]:8001".parse().unwrap()];
        let mut discovery = start(vec![Source::Fixed(list)], Settings::default()).unwrap();
        let known = discovery.backends.wait_for(|known| !known.is_empty()).await.unwrap().clone();
        let addresses: Vec<String> = known.iter().map(|backend| backend.address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.1:8001", "[fd00::1]:8001"]);
        assert_eq!(discovery.stale_for(Instant::now()), None);
    }

    #[tokio::test]
    async fn without_sources_it_does_not_start() {
        let error = start(Vec::new(), Settings::default()).unwrap_err();
        assert_eq!(error.to_string(), "no backends are given, neither a list nor a name nor a Service");
    }
}
