//! What the admin port answers.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::accept::control::fixture::Hearsay;
use crate::accept::phase::{Phase, Phases};
use crate::config::{Effective, Now};
use crate::observe::log::tests::kept;

const CONCERNS: &str = "model \"numbered\" (version 2): broken\n";

fn readiness(directory: &Hearsay) -> Readiness<Hearsay> {
    Readiness { directory: directory.clone(), phases: Phases::default() }
}

fn answers(readiness: &Readiness<Hearsay>, shown: Shown) -> Answers<Hearsay> {
    Answers { readiness: readiness.clone(), metrics: Arc::new(Metrics::new(Arc::default())), shown }
}

async fn ask(answers: &Answers<Hearsay>, method: &str, uri: &str, body: &'static str) -> (u16, String) {
    ask_from(answers, true, method, uri, body).await
}

async fn ask_from(
    answers: &Answers<Hearsay>,
    is_here: bool,
    method: &str,
    uri: &str,
    body: &'static str,
) -> (u16, String) {
    let request =
        Request::builder().method(method).uri(uri).body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
    let response = answers.to(request, is_here).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn ready_is_who_serves_and_whose_directory_is_ready_and_what_is_wrong_is_named() {
    let directory = Hearsay::default();
    let readiness = readiness(&directory);
    let concerns: Concerns = Arc::new(|| vec!["source x: silent".to_owned()]);
    let answers = answers(&readiness, Shown { concerns: vec![concerns], ..Shown::default() });
    let expect = async |status, line: &str| {
        let told = ask(&answers, "GET", "/readyz", "").await;
        assert_eq!(told, (status, format!("{line}\n{CONCERNS}source x: silent\n")));
    };
    expect(503, "not ready: models are loading").await;
    readiness.phases.advance(Phase::Serving);
    expect(503, "not ready: nobody is known yet").await;
    directory.meet();
    expect(200, "ready").await;
    let (status, verbose) = ask(&answers, "GET", "/readyz?verbose", "").await;
    let verbose: serde_json::Value = serde_json::from_str(&verbose).unwrap();
    let wrong = [CONCERNS.trim_end(), "source x: silent"];
    assert_eq!((status, verbose), (200, json!({ "ready": true, "reason": null, "concerns": wrong })));
    readiness.phases.advance(Phase::Announcing);
    expect(503, "not ready: the server is stopping").await;
}

#[tokio::test]
async fn a_page_that_takes_its_time_keeps_nothing_else_from_going_on() {
    let (goes_on, waits) = std::sync::mpsc::sync_channel::<()>(1);
    let waits = std::sync::Mutex::new(waits);
    let page: Page = Arc::new(move || json!(waits.lock().unwrap().recv_timeout(Duration::from_secs(10)).is_ok()));
    let answers =
        answers(&readiness(&Hearsay::default()), Shown { pages: vec![("/long", "much", page)], ..Shown::default() });
    let probe = async {
        assert_eq!(ask(&answers, "GET", "/livez", "").await.0, 200);
        goes_on.send(()).unwrap();
    };
    let (told, ()) = tokio::join!(ask(&answers, "GET", "/long", ""), probe);
    assert_eq!(told, (200, "true".to_owned()));
}

#[tokio::test]
async fn who_asks_for_what_is_not_there_is_told_what_is() {
    let page: Page = Arc::new(|| json!([]));
    let shown = Shown { pages: vec![("/endpoints", "whom it calls", page)], ..Shown::default() };
    let answers = answers(&readiness(&Hearsay::default()), shown);
    let (status, index) = ask(&answers, "GET", "/", "").await;
    assert_eq!(status, 200);
    for line in ["/livez - whether it lives", "/endpoints - whom it calls"] {
        assert!(index.lines().any(|told| told == line), "{index}");
    }
    assert_eq!(ask(&answers, "GET", "/secrets", "").await, (404, format!("not here; here are\n{index}")));
    assert_eq!(ask(&answers, "POST", "/livez", "").await, (405, "allowed here is GET, HEAD\n".to_owned()));
    assert_eq!(ask(&answers, "GET", "/log", "").await.0, 501);
    assert_eq!(ask(&answers, "GET", "/config", "").await.0, 501);
}

#[tokio::test]
async fn numbers_are_told_as_text_unless_somebody_asks_for_protobuf() {
    let answers = answers(&readiness(&Hearsay::default()), Shown::default());
    let told = async |accept: Option<&str>| {
        let mut request = Request::builder().uri("/metrics");
        request = accept.into_iter().fold(request, |request, accept| request.header("accept", accept));
        let response = answers.to(request.body(Full::<Bytes>::default()).unwrap(), false).await;
        let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        (media_type, response.into_body().collect().await.unwrap().to_bytes())
    };
    let (media_type, text) = told(None).await;
    assert!(media_type.starts_with("application/openmetrics-text;") && text.ends_with(b"# EOF\n"));
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let (media_type, page) = told(Some(&format!("{protobuf},text/plain;q=0.5"))).await;
    assert!(media_type == protobuf && !page.ends_with(b"# EOF\n"), "{media_type}");
}

#[tokio::test]
async fn the_settings_are_told_as_toml_and_as_json() {
    let effective = Effective::from(crate::config::Config::default());
    let settings: Settings = Arc::new(move |form| match form {
        Form::Toml => effective.toml(&Now::new()),
        Form::Json => json!(effective.json(&Now::new())).to_string(),
    });
    let settings = Some(settings);
    let answers = answers(&readiness(&Hearsay::default()), Shown { settings, ..Shown::default() });
    let (status, text) = ask(&answers, "GET", "/config", "").await;
    assert!(status == 200 && text.contains("in_flight = 1024 # default\n"), "{text}");
    let (_, told) = ask(&answers, "GET", "/config?json", "").await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["limits.in_flight"], json!({ "value": 1024, "source": "default" }));
}

#[tokio::test]
async fn the_log_can_be_changed_and_says_that_it_was() {
    let (log, kept, subscriber) = kept("warn", false);
    let _default = tracing::subscriber::set_default(subscriber);
    let answers = answers(&readiness(&Hearsay::default()), Shown { log: Some(log), ..Shown::default() });
    assert_eq!(ask(&answers, "GET", "/log", "").await, (200, "warn\n".to_owned()));
    tracing::info!("unheard");
    assert_eq!(ask(&answers, "PUT", "/log", "info,h2=off\n").await, (200, "info,h2=off\n".to_owned()));
    tracing::info!("heard");
    for wrong in ["inof", "", "info,[x=debug"] {
        let (status, told) = ask(&answers, "PUT", "/log", wrong).await;
        assert!(status == 400 && told.contains("allowed is off, error, warn"), "{status} {told}");
    }
    assert_eq!(ask(&answers, "DELETE", "/log", "").await.0, 405);
    let from_elsewhere = async |method, uri| ask_from(&answers, false, method, uri, "trace").await.0;
    assert_eq!(from_elsewhere("PUT", "/log").await, 403);
    assert_eq!(from_elsewhere("GET", "/profile?seconds=1").await, 403);
    assert_eq!(from_elsewhere("GET", "/log").await, 200);
    assert_eq!(from_elsewhere("GET", "/config").await, 501);
    assert!(is_here("[::ffff:127.0.0.1]:1".parse().unwrap()) && !is_here("10.0.0.7:1".parse().unwrap()));
    assert_eq!(ask(&answers, "GET", "/log", "").await.1, "info,h2=off\n");
    let text = kept.text();
    assert!(!text.contains("unheard") && text.contains("heard"), "{text}");
    assert!(text.contains("log filter changed from=\"warn\" to=\"info,h2=off\""), "{text}");
}

#[tokio::test]
async fn a_page_is_told_as_it_is_when_it_is_asked_for() {
    let directory = Hearsay::default();
    let told = directory.clone();
    let page: Page = Arc::new(move || json!({ "known": told.ready().is_ok() }));
    let admin = Admin::bind((Ipv4Addr::LOCALHOST, 0).into(), Shown::default()).await.unwrap();
    let admin = admin.with("/endpoints", "whom it calls", page);
    let address = admin.address().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(admin.serve(readiness(&directory), Arc::new(Metrics::new(Arc::default()))));
    directory.meet();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /endpoints HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n{\"known\":true}"), "{answer}");
}

/// Something to do for a CPU, on a thread of its own.
#[cfg(target_os = "linux")]
#[inline(never)]
fn keep_busy(until: &std::sync::atomic::AtomicBool) -> u64 {
    let mut sum = 1u64;
    while !until.load(std::sync::atomic::Ordering::Relaxed) {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
    sum
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_profile_shows_our_own_frames_one_is_made_at_a_time_and_for_a_bounded_time() {
    let answers = answers(&readiness(&Hearsay::default()), Shown::default());
    for wrong in ["0", "61", "soon", "-1"] {
        assert_eq!(ask(&answers, "GET", &format!("/profile?seconds={wrong}"), "").await.0, 400, "{wrong}");
    }
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let until = done.clone();
    let busy = std::thread::spawn(move || keep_busy(&until));
    let (first, second) = tokio::join!(
        biased;
        ask(&answers, "GET", "/profile?seconds=1", ""),
        ask(&answers, "GET", "/profile?seconds=1", "")
    );
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    busy.join().unwrap();
    assert_eq!(second, (409, "the CPU is being sampled already\n".to_owned()));
    let (status, svg) = first;
    assert!(status == 200 && svg.starts_with("<svg "), "{status} {svg}");
    assert!(svg.contains("keep_busy"), "{svg}");
}
