//! The loop: a repository on disk, a scripted loader, and what callers see meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use super::*;
use crate::models::fixture::{Act, Disk, Script, Scripted, target};
use crate::models::{SETTINGS_FILE, VersionState};

/// A catalog over a repository that a test may change.
struct Site {
    disk: Disk,
    script: Script,
    catalog: Catalog<Scripted>,
}

impl Site {
    fn new(files: &[&str], load_concurrency: usize) -> Site {
        let (disk, script) = (Disk::new(files), Script::default());
        let repository = Repository::open(disk.root()).unwrap();
        let catalog = Catalog::new(repository, script.loader(), load_concurrency);
        Site { disk, script, catalog }
    }

    async fn loaded(files: &[&str]) -> Site {
        let site = Site::new(files, 1);
        let summary = site.catalog.load_all().await.unwrap();
        assert_eq!(summary.broken, []);
        site
    }

    fn settings(&self, text: &str) {
        self.disk.write(&format!("digits/{SETTINGS_FILE}"), text);
    }

    async fn load(&self, name: &str) -> Result<(), (Kind, String)> {
        let loaded = self.catalog.load(&name.parse().unwrap()).await;
        loaded.map_err(|error| (error.kind(), error.to_string()))
    }

    async fn unload(&self, name: &str) -> Result<(), Kind> {
        self.catalog.unload(&name.parse().unwrap()).await.map_err(|error| error.kind())
    }

    /// Which load serves it, or the refusal.
    fn serving(&self, text: &str) -> Result<u32, Kind> {
        self.catalog.resolve(&target(text)).map(|served| served.service().load).map_err(|error| error.kind())
    }

    /// The index, a line as `digits 1 Ready`.
    fn index(&self) -> Vec<String> {
        let line = |entry: IndexEntry| {
            let version = entry.version.map(|version| format!(" {version}")).unwrap_or_default();
            let reason = if entry.reason.is_empty() { String::new() } else { format!(": {}", entry.reason) };
            format!("{}{version} {:?}{reason}", entry.name, entry.state)
        };
        self.catalog.index().into_iter().map(line).collect()
    }
}

const DIGITS: &str = "digits/1/model.onnx";
const NEXT: &str = "digits/2/model.onnx";
const PENGUINS: &str = "penguins/1/model.onnx";

#[tokio::test]
async fn another_config_pbtxt_is_another_model_and_the_same_one_is_not() {
    let site = Site::loaded(&["digits/1/model.onnx", "digits/1/net.onnx", "digits/warmup/row"]).await;
    let warmup = |file: &str| {
        format!(
            "model_warmup {{ batch_size: 1 inputs {{ key: 'x' value {{ data_type: TYPE_FP32 dims: 0
             input_data_file: '{file}' }} }} }}"
        )
    };
    let mut load = 1;
    for text in ["max_batch_size: 4", "default_model_filename: 'net.onnx'", "input { name: 'x' }", &warmup("row")] {
        site.disk.write("digits/config.pbtxt", text);
        site.load("digits").await.unwrap();
        load += 1;
        assert_eq!(site.serving("digits"), Ok(load), "{text}");
        site.load("digits").await.unwrap();
        assert_eq!(site.serving("digits"), Ok(load), "{text}");
    }
    site.disk.write("digits/warmup/row", "other");
    site.load("digits").await.unwrap();
    assert_eq!(site.serving("digits"), Ok(load + 1));
    site.disk.write("digits/config.pbtxt", "backend: 'python'");
    let told = "model \"digits\" cannot be loaded: config.pbtxt: backend: found \"python\", allowed is \"onnxruntime\"";
    assert_eq!(site.load("digits").await, Err((Kind::Unloadable, told.to_owned())));
    assert_eq!(site.serving("digits"), Ok(load + 1));
}

#[test]
fn what_somebody_should_know_is_news_once() {
    let (news, digits) = (News::default(), "digits".parse().unwrap());
    let (one, other) = (vec!["one".to_owned()], vec!["other".to_owned()]);
    assert!(news.is_new(&digits, &one));
    assert!(!news.is_new(&digits, &one));
    assert!(news.is_new(&"penguins".parse().unwrap(), &one));
    assert!(news.is_new(&digits, &other));
    news.is_new(&digits, &[]);
    assert!(news.is_new(&digits, &other));
}

#[tokio::test]
async fn every_model_of_the_repository_is_loaded() {
    let site = Site::new(&[DIGITS, NEXT, PENGUINS], 1);
    assert!(!site.catalog.all_ready(), "nobody looked yet");
    let summary = site.catalog.load_all().await.unwrap();
    assert_eq!((summary.ready, summary.broken), (2, vec![]));
    assert_eq!(site.index(), ["digits 2 Ready", "penguins 1 Ready"]);
    assert!(site.catalog.all_ready() && site.catalog.is_ready(&target("digits/2")));
    assert_eq!(site.serving("digits/1"), Err(Kind::UnknownModel));
    assert_eq!(site.catalog.versions(&"digits".parse().unwrap()), Ok(vec![Version::new(2).unwrap()]));
}

#[tokio::test]
async fn a_broken_model_stops_no_other() {
    let site = Site::new(&[DIGITS, PENGUINS, "empty/readme.txt", "fails/1/model.onnx", "panics/1/model.onnx"], 1);
    site.settings("instance = 2");
    site.script.on("fails/1", Act::Fail("node 3 has no kernel"));
    site.script.on("panics/1", Act::Panic);
    let summary = site.catalog.load_all().await.unwrap();
    let names: Vec<&str> = summary.broken.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((summary.ready, names), (1, vec!["digits", "empty", "fails", "panics"]));
    assert_eq!(summary.broken[2].1, "model \"fails\" cannot be loaded: version 1: node 3 has no kernel");
    assert_eq!(
        site.index()[1..],
        [
            "empty Unavailable: it has no folder of a version; lay the model down as 1/model.onnx",
            "fails 1 Unavailable: node 3 has no kernel",
            "panics 1 Unavailable: loading it panicked, see the log",
            "penguins 1 Ready",
        ]
    );
    assert!(site.index()[0].starts_with("digits Unavailable: model.toml: instance: unknown key"));
    assert!(site.serving("penguins").is_ok());
    assert_eq!(site.serving("fails"), Err(Kind::NotReady));
    assert!(!site.catalog.all_ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_answers_at_every_moment_of_its_reload() {
    let site = Arc::new(Site::loaded(&[DIGITS]).await);
    let stop = Arc::new(AtomicBool::new(false));
    let (calls, has_called) = mpsc::sync_channel(1);
    let caller = std::thread::spawn({
        let (site, stop) = (site.clone(), stop.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                site.serving("digits").expect("a call found nothing to serve it");
                let _ = calls.try_send(());
            }
        }
    });
    has_called.recv().unwrap();
    for (file, version, load) in [(DIGITS, "digits/1", 2), (NEXT, "digits/2", 3), (NEXT, "digits/2", 4)] {
        let (has_begun, go) = site.script.hold(version);
        site.disk.write(file, &format!("content {load}"));
        let reload = tokio::spawn({
            let site = site.clone();
            async move { site.load("digits").await }
        });
        has_begun.recv().unwrap();
        assert_eq!(site.serving("digits"), Ok(load - 1), "the old one serves while the new one is loaded");
        assert!(site.catalog.all_ready());
        go.send(()).unwrap();
        assert_eq!(reload.await.unwrap(), Ok(()));
        assert_eq!(site.serving("digits"), Ok(load));
    }
    stop.store(true, Ordering::Relaxed);
    caller.join().unwrap();
    assert_eq!(site.index(), ["digits 1 Unavailable: unloaded", "digits 2 Ready"]);
}

#[tokio::test]
async fn a_failed_reload_keeps_the_old_one_and_says_why() {
    let site = Site::loaded(&[DIGITS]).await;
    let told = "model \"digits\" cannot be loaded: version 1: truncated";
    site.disk.write(DIGITS, "half of it");
    site.script.on("digits/1", Act::Fail("truncated"));
    assert_eq!(site.load("digits").await, Err((Kind::Unloadable, told.into())));
    assert_eq!(site.serving("digits"), Ok(1));
    assert_eq!(site.index(), ["digits 1 Ready: serves, but a later load failed: truncated"]);

    assert_eq!(site.load("digits").await, Ok(()), "the next load tries again");
    assert_eq!(site.index(), ["digits 1 Ready"]);
    assert_eq!(site.serving("digits"), Ok(3));
}

#[tokio::test]
async fn a_new_version_that_fails_leaves_the_one_before_it() {
    let site = Site::loaded(&[DIGITS]).await;
    site.disk.write(NEXT, "");
    site.script.on("digits/2", Act::Panic);
    assert_eq!(site.load("digits").await.unwrap_err().0, Kind::Unloadable);
    assert_eq!(site.serving("digits"), Ok(1));
    assert_eq!(site.index(), ["digits 1 Ready", "digits 2 Unavailable: loading it panicked, see the log"]);
}

#[tokio::test]
async fn broken_settings_leave_what_serves() {
    let site = Site::loaded(&[DIGITS]).await;
    site.settings("versions = \"newest\"");
    let (kind, told) = site.load("digits").await.unwrap_err();
    assert_eq!(kind, Kind::Unloadable);
    assert!(told.contains("model.toml: versions: found \"newest\""), "{told}");
    assert_eq!(site.serving("digits"), Ok(1));
    assert!(site.index()[0].starts_with("digits 1 Ready: serves, but a later load failed: model.toml: versions"));
    assert!(site.catalog.all_ready());
}

#[tokio::test]
async fn what_did_not_change_is_not_loaded_again() {
    let site = Site::loaded(&[DIGITS, NEXT]).await;
    assert_eq!(site.load("digits").await, Ok(()));
    site.settings("versions = \"all\"\nversion_labels = { stable = 1, next = 2 }");
    assert_eq!(site.load("digits").await, Ok(()));
    assert_eq!(site.script.loads(), ["digits/2", "digits/1"]);
    assert_eq!((site.serving("digits@next"), site.serving("digits@stable")), (Ok(1), Ok(2)));

    site.settings("versions = [2]\ninstances = 2");
    assert_eq!(site.load("digits").await, Ok(()));
    assert_eq!(site.script.loads().len(), 3, "other settings are another model");
    assert_eq!(site.index(), ["digits 1 Unavailable: unloaded", "digits 2 Ready"]);
}

#[tokio::test]
async fn a_version_that_is_listed_but_missing_is_told() {
    let site = Site::loaded(&[DIGITS]).await;
    site.settings("versions = [1, 3]");
    let (kind, told) = site.load("digits").await.unwrap_err();
    let why = "version 3: the settings list it in versions, but it has no folder";
    assert_eq!((kind, told), (Kind::Unloadable, format!("model \"digits\" cannot be loaded: {why}")));
    assert_eq!(site.serving("digits/1"), Ok(1));
    assert_eq!(site.serving("digits/3"), Err(Kind::NotReady));
}

#[tokio::test]
async fn an_unloaded_model_refuses_calls_at_once_and_can_come_back() {
    let site = Site::loaded(&[DIGITS, PENGUINS]).await;
    assert_eq!(site.unload("digits").await, Ok(()));
    assert_eq!(site.serving("digits"), Err(Kind::NotReady));
    assert_eq!(site.index(), ["digits 1 Unavailable: unloaded", "penguins 1 Ready"]);
    assert!(site.catalog.all_ready(), "it was meant to go");
    assert_eq!(site.unload("digits").await, Ok(()), "once more is no mistake");

    assert_eq!(site.load("digits").await, Ok(()));
    assert_eq!(site.serving("digits"), Ok(3));
}

#[tokio::test]
async fn a_call_in_flight_keeps_its_version_which_is_let_go_of_on_another_thread() {
    let site = Site::new(&[DIGITS], 1);
    let drops = site.script.drops();
    site.catalog.load_all().await.unwrap();
    let in_flight = site.catalog.resolve(&target("digits")).unwrap();
    site.unload("digits").await.unwrap();
    assert!(drops.try_recv().is_err(), "the call still holds it");
    assert_eq!(in_flight.service().load, 1);

    drop(in_flight);
    let dropped_on = tokio::task::spawn_blocking(move || drops.recv()).await.unwrap().unwrap();
    assert_ne!(dropped_on, std::thread::current().id());
}

#[tokio::test]
async fn a_model_that_the_repository_does_not_have_is_unknown() {
    let site = Site::loaded(&[DIGITS]).await;
    let told = "model \"penguins\" is not in the repository".to_owned();
    assert_eq!(site.load("penguins").await, Err((Kind::UnknownModel, told)));
    assert_eq!(site.unload("penguins").await, Err(Kind::UnknownModel));
    assert_eq!(site.index(), ["digits 1 Ready"], "asking leaves no trace");

    site.disk.write(PENGUINS, "");
    assert_eq!(site.load("penguins").await, Ok(()), "it was laid down meanwhile");
    site.disk.remove("digits");
    assert_eq!(site.load("digits").await.unwrap_err().0, Kind::UnknownModel);
    assert_eq!(site.serving("digits"), Ok(1), "what serves is not taken away by a folder that is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_loaded_side_by_side_up_to_the_limit() {
    for limit in [1, 2] {
        let names = ["a", "b", "c", "d"];
        let files: Vec<String> = names.iter().map(|name| format!("{name}/1/model.onnx")).collect();
        let site = Site::new(&files.iter().map(String::as_str).collect::<Vec<_>>(), limit);
        let held: Vec<_> = names.iter().map(|name| site.script.hold(&format!("{name}/1"))).collect();
        let catalog = site.catalog.clone();
        let loads = tokio::spawn(async move { catalog.load_all().await });
        // As many as may begin do; the others are let go before they begin.
        while site.script.loads().len() < limit {
            tokio::task::yield_now().await;
        }
        assert!(!site.catalog.all_ready());
        assert!(site.index().iter().all(|line| line.ends_with("1 Loading: loading")), "{:?}", site.index());
        drop(held);
        assert_eq!(loads.await.unwrap().unwrap().ready, 4);
        assert_eq!(site.script.most_running(), limit);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_and_unloads_of_one_model_happen_one_after_the_other() {
    let site = Arc::new(Site::new(&[DIGITS], 4));
    site.catalog.load_all().await.unwrap();
    let (has_begun, go) = site.script.hold("digits/1");
    site.disk.write(DIGITS, "new");
    let ask = |site: &Arc<Site>| {
        let site = site.clone();
        tokio::spawn(async move { site.load("digits").await })
    };
    let first = ask(&site);
    has_begun.recv().unwrap();
    let second = ask(&site);
    let mut unload = Box::pin(site.unload("digits"));
    assert!(polled_once(&mut unload).await.is_pending(), "the turn is taken");
    go.send(()).unwrap();
    // Together: whose turn is next is not ours to say.
    let (first, second, unload) = tokio::join!(first, second, unload);
    assert_eq!((first.unwrap(), second.unwrap(), unload), (Ok(()), Ok(()), Ok(())));
    assert_eq!(site.script.most_running(), 1);
}

/// Polls once, without waiting.
async fn polled_once<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_goes_on_when_its_caller_leaves() {
    let site = Arc::new(Site::loaded(&[DIGITS]).await);
    let (has_begun, go) = site.script.hold("digits/1");
    site.disk.write(DIGITS, "new");
    let caller = tokio::spawn({
        let site = site.clone();
        async move { site.load("digits").await }
    });
    has_begun.recv().unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    let mut changes = site.catalog.changes();
    go.send(()).unwrap();
    while site.serving("digits") != Ok(2) {
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn every_change_is_told_to_those_who_watch() {
    let site = Site::loaded(&[DIGITS]).await;
    let mut changes = site.catalog.changes();
    changes.mark_unchanged();
    site.unload("digits").await.unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    site.load("digits").await.unwrap();
    assert!(changes.has_changed().unwrap());
}

#[tokio::test]
async fn one_file_is_served_as_one_model() {
    let (disk, script) = (Disk::new(&["net.onnx"]), Script::default());
    let repository = Repository::open(&disk.path("net.onnx")).unwrap();
    let catalog = Catalog::new(repository, script.loader(), 1);
    assert_eq!(catalog.load_all().await.unwrap().ready, 1);
    let served = catalog.resolve(&target("net/1")).unwrap();
    assert_eq!((served.version.number(), served.device.as_ref()), (1, "cpu"));
    disk.write("net.onnx", "new");
    catalog.load(&"net".parse().unwrap()).await.unwrap();
    assert_eq!(script.loads(), ["net/1", "net/1"]);
    assert_eq!(catalog.index()[0].state, VersionState::Ready);
}

#[test]
fn a_name_that_could_leave_the_repository_is_no_name() {
    // A catalog and a repository take nothing but a `ModelName`, so that such a name cannot reach a path.
    for name in ["../digits", "a/b", "..", ".", "digits\0", "/etc", ""] {
        assert_eq!(name.parse::<ModelName>().unwrap_err().kind(), Kind::Invalid, "{name:?}");
    }
}
