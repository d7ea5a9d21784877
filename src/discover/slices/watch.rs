//! Asking the API server: one list and then watches, each with an end. It never gives up,
//! since nothing that an API server says is final: after a restart it refuses valid accounts for a moment (403), and
//! after an account was made anew its old token is refused until the file is read again (401).
//!
//! kube's own `watcher` is not used: it waits without end for an answer to a list or to the start of a watch, starts
//! watches that end at once again without a pause, keeps bookmarks (which are signs of life) to itself, and never doubts
//! a silent watch.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use tokio::time::{timeout, timeout_at};
use tracing::{info, warn};

use super::super::feed::{Feed, now};
use super::super::outage::Outage;
use super::super::{Backends, KubernetesService};
use super::cluster::{Cluster, chain};
use super::following::{Ask, Following};
use super::{Skipped, Slices};

/// Slices in one answer.
const PAGE: u32 = 500;

/// An answer that has not come by then does not come: the API server itself ends requests after 60 s, but by then the
/// connection is more often dead than the server slow.
const ANSWER: Duration = Duration::from_secs(15);

/// The label that leads from a slice to its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// After how long a watch that said nothing, not even goodbye, is dead, given after how long the server ends it.
pub fn dead_after(watch_timeout: Duration) -> Duration {
    watch_timeout + watch_timeout / 5
}

/// Follows the slices of a Service for ever.
pub async fn follow(cluster: Cluster, service: KubernetesService, feed: Feed) {
    let mut follower = Follower::new(cluster, &service, feed);
    loop {
        let pause = follower.step().await;
        tokio::time::sleep(pause).await;
    }
}

/// Follows one Service.
struct Follower {
    cluster: Cluster,
    slices_of: Api<EndpointSlice>,
    selector: String,
    service: String,
    feed: Feed,
    slices: Slices,
    following: Following,
    outage: Outage,
    told: Option<Backends>,
    skipped: Skipped,
}

/// Why a request came to nothing.
enum Failure {
    /// What we know is too old to go on from.
    Expired,
    /// A watch did not even end.
    Silent,
    /// Anything else.
    Other(String),
}

impl Follower {
    fn new(cluster: Cluster, service: &KubernetesService, feed: Feed) -> Follower {
        Follower {
            slices_of: Api::namespaced(cluster.client.clone(), &service.namespace),
            cluster,
            selector: format!("{SERVICE_LABEL}={}", service.service),
            service: service.to_string(),
            feed,
            slices: Slices::new(service.port.clone()),
            following: Following::new(fastrand::Rng::new()),
            outage: Outage::of(service.to_string()),
            told: None,
            skipped: Skipped::default(),
        }
    }

    /// One list or one watch. Returns how long to wait before the next.
    async fn step(&mut self) -> Duration {
        let done = match self.following.ask() {
            Ask::List => self.list().await.map(|()| Duration::ZERO),
            Ask::Watch(version) => self.watch(&version).await,
        };
        match done {
            Ok(pause) => pause,
            Err(Failure::Expired) => self.following.expired(),
            Err(Failure::Silent) => {
                self.outage.failed(&"the watch fell silent", now());
                self.following.expired()
            }
            Err(Failure::Other(why)) => {
                self.outage.failed(&why, now());
                self.following.failed()
            }
        }
    }

    /// Asks for everything, and believes it only when it is complete. Ends no outage: an account may list and not watch.
    async fn list(&mut self) -> Result<(), Failure> {
        let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() }.labels(&self.selector);
        let mut slices = Vec::new();
        let version = loop {
            self.cluster.turn().await;
            let page = self.cluster.quietly(answered(self.slices_of.list(&params))).await?;
            self.feed.seen();
            slices.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break page.metadata.resource_version.filter(|version| !version.is_empty()),
            }
        };
        let version = version.ok_or_else(|| Failure::Other("the list has no version".to_owned()))?;
        if self.told.is_none() {
            info!(service = self.service, slices = slices.len(), "follows a service");
        }
        self.slices.replace(&slices);
        self.following.listed(version);
        self.tell().await;
        Ok(())
    }

    /// Watches from a version until it ends or should have. Returns how long to wait.
    async fn watch(&mut self, version: &str) -> Result<Duration, Failure> {
        let seconds = self.cluster.watch_timeout.as_secs() as u32;
        let params = WatchParams::default().timeout(seconds).labels(&self.selector);
        self.cluster.turn().await;
        let begun = now();
        let dead = begun + dead_after(self.cluster.watch_timeout);
        let events = self.cluster.quietly(answered(self.slices_of.watch(&params, version))).await?;
        let mut events = pin!(events);
        self.feed.seen();
        loop {
            let event = timeout_at(dead.into(), self.cluster.quietly(events.next())).await;
            match event.map_err(|_| Failure::Silent)? {
                Some(event) => self.event(event.map_err(Failure::from)?).await?,
                None => return Ok(self.following.ended(now().saturating_duration_since(begun))),
            }
        }
    }

    async fn event(&mut self, event: WatchEvent<EndpointSlice>) -> Result<(), Failure> {
        let version = match event {
            WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => {
                self.slices.apply(&slice);
                slice.metadata.resource_version
            }
            WatchEvent::Deleted(slice) => {
                self.slices.delete(&slice);
                slice.metadata.resource_version
            }
        };
        let version = version.filter(|version| !version.is_empty());
        let version = version.ok_or_else(|| Failure::Other("an event has no version".to_owned()))?;
        if !self.following.heard(version) {
            return Err(Failure::Expired);
        }
        self.feed.seen();
        self.outage.ended(now());
        self.tell().await;
        Ok(())
    }

    /// Hands on what is known, if that is news.
    async fn tell(&mut self) {
        let skipped = self.slices.skipped();
        if skipped != self.skipped {
            self.feed.skipped(skipped.count);
            if let Some(why) = &skipped.why {
                warn!(service = self.service, skipped = skipped.count, why, "parts of slices cannot be used");
            }
            self.skipped = skipped;
        }
        let backends = self.slices.backends();
        if self.told.as_ref() != Some(&backends) {
            self.told = Some(backends.clone());
            self.feed.tell(backends).await;
        }
    }
}

/// The answer to a request, in time.
async fn answered<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    let answer = timeout(ANSWER, request).await;
    let answer = answer.map_err(|_| Failure::Other(format!("no answer within {} s", ANSWER.as_secs())))?;
    answer.map_err(Failure::from)
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) if status.code == 410 => Failure::Expired,
            kube::Error::Api(status) => {
                Failure::Other(format!("{} {}: {}", status.code, status.reason, status.message))
            }
            other => Failure::Other(chain(&other)),
        }
    }
}
