//! EndpointSlices of an API server that comes and goes.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use infergate::discover::{Guard, Source};
use tempfile::TempDir;
use tracing::Level;

use super::{Found, settings, stored, texts};
use crate::cluster::api_server::ApiServer;
use crate::cluster::slice::{Slice, ready, terminating};
use crate::harness::{eventually, within};

const TOKEN: &str = "good";

struct Cluster {
    server: ApiServer,
    folder: TempDir,
}

impl Cluster {
    async fn with(slices: impl IntoIterator<Item = Slice>) -> Cluster {
        Cluster::of(ApiServer::start().await, slices)
    }

    fn of(server: ApiServer, slices: impl IntoIterator<Item = Slice>) -> Cluster {
        server.expect(TOKEN);
        slices.into_iter().for_each(|slice| server.put(slice));
        Cluster { server, folder: tempfile::tempdir().unwrap() }
    }

    fn found(&self) -> Found {
        let settings = settings(self.server.kubeconfig(self.folder.path(), TOKEN));
        Found::by(service(), stored(settings, self.folder.path()))
    }

    /// Waits until so many more requests have come.
    async fn asked(&self, more: usize) {
        let before = self.server.requests().len();
        eventually("asked", async || self.server.requests().len() >= before + more).await;
    }

    fn most_in_a_second(&self) -> usize {
        let times: Vec<Instant> = self.server.requests().into_iter().map(|(time, _)| time).collect();
        let within =
            |start: &Instant| times.iter().filter(|t| *t >= start && **t < *start + Duration::from_secs(1)).count();
        times.iter().map(within).max().unwrap_or(0)
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.0.lock().unwrap()).lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn service() -> Source {
    Source::Kubernetes("ml/workers:grpc".parse().unwrap())
}

#[tokio::test]
async fn an_endpoint_appears_becomes_ready_terminates_and_is_gone() {
    let cluster = Cluster::with([]).await;
    let found = cluster.found();
    cluster.asked(1).await;
    cluster.server.put(Slice::new("a").with("10.0.0.1", serde_json::json!({ "ready": false, "serving": false })));
    found.becomes(&["10.0.0.1:8001 unready"]).await;
    cluster.server.put(Slice::new("a").with("10.0.0.1", ready()));
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    cluster.server.put(Slice::new("a").with("10.0.0.1", terminating(true)));
    found.becomes(&["10.0.0.1:8001 leaving"]).await;
    cluster.server.put(Slice::new("a").with("10.0.0.1", terminating(false)));
    found.becomes(&["10.0.0.1:8001 unready"]).await;
    cluster.server.put(Slice::new("a"));
    found.becomes(&[]).await;
}

#[tokio::test]
async fn a_server_behind_tls_is_followed_through_a_restart() {
    let mut cluster = Cluster::of(ApiServer::with_tls().await, [Slice::new("a").ready(&["10.0.0.1"])]);
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    cluster.server.down().await;
    cluster.server.put(Slice::new("b").ready(&["10.0.0.2"]));
    cluster.server.up(0).await;
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]).await;
    found.never_lost(&["10.0.0.1:8001 ready"]);
}

#[tokio::test]
async fn conditions_that_are_missing_mean_ready() {
    let cluster = Cluster::with([Slice::new("a").with("10.0.0.1", serde_json::json!({}))]).await;
    cluster.found().becomes(&["10.0.0.1:8001 ready"]).await;
}

#[tokio::test]
async fn an_address_in_two_slices_is_known_until_the_last_of_them_goes() {
    let both = [Slice::new("a").ready(&["10.0.0.1"]), Slice::new("b").ready(&["10.0.0.1", "10.0.0.2"])];
    let cluster = Cluster::with(both).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]).await;
    cluster.server.delete("b");
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    cluster.server.delete("a");
    found.becomes(&[]).await;
}

#[tokio::test]
async fn a_list_of_many_pages_is_one_set() {
    let slices = (1..=7).map(|number| Slice::new(&format!("s{number}")).ready(&[&format!("10.0.0.{number}")]));
    let cluster = Cluster::with(slices).await;
    cluster.server.page(3);
    let found = cluster.found();
    let all: Vec<String> = (1..=7).map(|number| format!("10.0.0.{number}:8001 ready")).collect();
    found.becomes(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(found.history.lock().unwrap().len(), 2, "nobody, then all: never part of a list");
}

#[tokio::test]
async fn slices_of_names_are_counted_and_hide_nobody() {
    let names = Slice::new("names").ready(&["worker.example.org"]).of_names();
    let cluster = Cluster::with([names, Slice::new("a").ready(&["10.0.0.1"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    let skipped: Vec<u64> = found.discovery.lives.iter(Instant::now()).map(|life| life.skipped).collect();
    assert_eq!(skipped, [1]);
}

#[tokio::test]
async fn an_outage_with_a_restart_takes_nobody_away_and_hides_no_change_for_long() {
    let mut cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1", "10.0.0.2"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]).await;
    cluster.server.down().await;
    found.is_stale(Duration::from_secs(2)).await;
    // It is back, has forgotten what it said, and refuses everybody at first.
    cluster.server.put(Slice::new("b").ready(&["10.0.0.3"]));
    cluster.server.up(2).await;
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready", "10.0.0.3:8001 ready"]).await;
    found.is_fresh(Duration::from_secs(2)).await;
    found.never_lost(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]);
    assert!(cluster.most_in_a_second() <= 20, "{:?}", cluster.server.requests());
}

#[tokio::test]
async fn an_expired_watch_is_followed_by_a_list() {
    let cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    cluster.asked(1).await;
    cluster.server.expire();
    let lists = || cluster.server.requests().iter().filter(|(_, what)| !what.contains("watch=")).count();
    eventually("a second list", async || lists() == 2).await;
    cluster.server.put(Slice::new("b").ready(&["10.0.0.2"]));
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]).await;
    found.never_lost(&["10.0.0.1:8001 ready"]);
}

#[tokio::test]
async fn a_watch_of_a_store_that_was_set_back_is_not_believed() {
    let cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    cluster.server.set_back();
    cluster.server.put(Slice::new("b").ready(&["10.0.0.2"]));
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]).await;
}

#[tokio::test]
async fn a_server_that_froze_is_left_for_a_new_connection() {
    let cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    cluster.asked(1).await;
    cluster.server.freeze();
    // Whoever asks now gets no answer; connections from before never get one again.
    cluster.server.put(Slice::new("b").ready(&["10.0.0.2"]));
    cluster.server.thaw();
    let frozen = Instant::now();
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]).await;
    assert!(frozen.elapsed() < Duration::from_secs(10), "a dead watch of 1.2 s took {:?}", frozen.elapsed());
    found.never_lost(&["10.0.0.1:8001 ready"]);
}

#[tokio::test]
async fn a_slow_server_is_waited_for() {
    let cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1"])]).await;
    cluster.server.delay(Duration::from_millis(1500));
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    assert_eq!(cluster.server.requests().iter().filter(|(_, what)| !what.contains("watch=")).count(), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_takes_nobody_away() {
    let cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    cluster.server.expect("another");
    found.is_stale(Duration::from_secs(2)).await;
    cluster.server.expect(TOKEN);
    cluster.server.put(Slice::new("a").ready(&["10.0.0.1", "10.0.0.2"]));
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]).await;
    found.never_lost(&["10.0.0.1:8001 ready"]);
}

#[tokio::test]
async fn watches_that_are_quiet_are_signs_of_life() {
    let cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    let lists = || cluster.server.requests().iter().filter(|(_, what)| !what.contains("watch=")).count();
    cluster.asked(4).await;
    let stale = found.discovery.stale_for(Instant::now()).unwrap();
    assert!(stale < Duration::from_secs(3), "{stale:?}");
    assert_eq!(lists(), 1, "bookmarks keep the version fresh");
    let (requests, connections) = (cluster.server.requests().len(), cluster.server.connections());
    assert!(
        connections >= requests as u64,
        "{requests} requests on {connections} connections, one of which may be dead"
    );
}

#[tokio::test]
async fn many_services_together_keep_to_one_pace() {
    let mut cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1"])]).await;
    let settings = settings(cluster.server.kubeconfig(cluster.folder.path(), TOKEN));
    let found = Found::by_all(vec![service(); 30], settings);
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    cluster.asked(30).await;
    cluster.server.down().await;
    cluster.server.up(10).await;
    cluster.asked(30).await;
    let most = cluster.most_in_a_second();
    assert!((5..=20).contains(&most), "{most} in a second");
}

#[tokio::test]
async fn an_outage_is_one_warning_however_often_it_is_tried() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(Level::WARN).with_writer(move || writer.clone()).finish();
    let _capturing = tracing::subscriber::set_default(subscriber);
    let mut cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    cluster.server.down().await;
    // After waits of half a second, one and two at most: the fourth try.
    found.is_stale(Duration::from_secs(4)).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("no answer about backends") && lines[0].contains("refused"), "{lines:?}");
}

#[tokio::test]
async fn an_empty_list_is_told_and_the_guard_keeps_who_is_connected() {
    let cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1", "10.0.0.2"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]).await;
    let mut guard = Guard::default();
    let before = found.discovery.backends.borrow().clone();
    guard.admit(&before, |_| true);
    cluster.server.delete("a");
    found.becomes(&[]).await;
    let told = found.discovery.backends.borrow().clone();
    assert_eq!(guard.admit(&told, |_| true), before);
    let first = before.iter().next().unwrap().address;
    assert_eq!(guard.lost(first).map(|left| left.len()), Some(1));
}

#[tokio::test]
async fn a_start_during_an_outage_begins_with_what_was_known() {
    let mut cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    let known = found.discovery.backends.borrow().clone();
    found.discovery.store.as_ref().unwrap().save(&known);
    let file = cluster.folder.path().join("backends.json");
    eventually("saved", async || file.exists()).await;
    drop(found);

    cluster.server.down().await;
    let found = cluster.found();
    assert_eq!(texts(&found.discovery.backends.borrow()), ["10.0.0.1:8001 ready"], "before anybody answers");
    found.is_stale(Duration::from_secs(1)).await;
    cluster.server.put(Slice::new("a").ready(&["10.0.0.2"]));
    cluster.server.up(1).await;
    found.becomes(&["10.0.0.2:8001 ready"]).await;
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_read_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("missing"));
    let error = infergate::discover::start(vec![service()], settings).unwrap_err().to_string();
    assert!(error.starts_with("cannot tell how to reach the cluster: ") && error.contains("missing"), "{error}");
}

#[tokio::test]
async fn dropping_a_discovery_ends_its_watch() {
    let cluster = Cluster::with([Slice::new("a").ready(&["10.0.0.1"])]).await;
    let found = cluster.found();
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    let mut backends = found.discovery.backends.clone();
    drop(found);
    within(async { while backends.changed().await.is_ok() {} }).await;
}
