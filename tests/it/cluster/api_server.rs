//! An API server that knows nothing but EndpointSlices, and behaves and misbehaves as real ones do: an expired watch is
//! 200 with an `ERROR` event; just after a restart valid accounts get 403; versions from before a restart are expired; a
//! watch from a version of the future is silent; a frozen server takes connections and says nothing; bookmarks come just
//! before a watch ends.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout_at;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Dropping it stops it.
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

struct State {
    revision: u64,
    /// Versions below it are expired.
    oldest: u64,
    slices: BTreeMap<String, Value>,
    log: Vec<Change>,
    requests: Vec<(Instant, String)>,
    /// Most objects in one page, whatever is asked for.
    page: usize,
    is_frozen: bool,
    /// Connections with a lower number have hung since the last freeze.
    thawed: u64,
    connections: u64,
    /// So many requests to come are answered 403.
    forbidden: usize,
    /// The only token that is good, if any is needed.
    token: Option<String>,
    /// How long every answer takes to begin.
    delay: Duration,
}

#[derive(Clone)]
struct Change {
    revision: u64,
    kind: &'static str,
    slice: Value,
}

impl ApiServer {
    /// One that knows no slices, on a free port.
    pub async fn start() -> ApiServer {
        let state = State {
            revision: 100,
            oldest: 0,
            slices: BTreeMap::new(),
            log: Vec::new(),
            requests: Vec::new(),
            page: usize::MAX,
            is_frozen: false,
            thawed: 0,
            connections: 0,
            forbidden: 0,
            token: None,
            delay: Duration::ZERO,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: watch::channel(()).0 });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = Some(tokio::spawn(accept(listener, shared.clone())));
        ApiServer { address, shared, accepting }
    }

    /// A file that says how to reach it, with a token.
    pub fn kubeconfig(&self, folder: &Path, token: &str) -> PathBuf {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            "clusters": [{ "name": "c", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "u", "user": { "token": token } }],
        });
        let path = folder.join("kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// A slice of `ml/workers` is new or different.
    pub fn put(&self, slice: Slice) {
        self.change(|state| {
            state.revision += 1;
            let object = slice.object(state.revision);
            let kind = if state.slices.insert(slice.name, object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
            state.log.push(Change { revision: state.revision, kind, slice: object });
        });
    }

    /// A slice is gone.
    pub fn delete(&self, name: &str) {
        self.change(|state| {
            state.revision += 1;
            let mut slice = state.slices.remove(name).unwrap();
            slice["metadata"]["resourceVersion"] = state.revision.to_string().into();
            state.log.push(Change { revision: state.revision, kind: "DELETED", slice });
        });
    }

    /// It dies with all its connections.
    pub async fn down(&mut self) {
        let accepting = self.accepting.take().unwrap();
        accepting.abort();
        let _ = accepting.await;
    }

    /// It is back on the same port, without the history from before, and refuses so many requests at first.
    pub async fn up(&mut self, forbidden: usize) {
        self.change(|state| {
            state.revision += 1;
            state.oldest = state.revision;
            state.forbidden = forbidden;
        });
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accepting = Some(tokio::spawn(accept(listener, self.shared.clone())));
    }

    /// Every version that anybody knows is expired, and watches hear so.
    pub fn expire(&self) {
        self.change(|state| {
            state.revision += 1;
            state.oldest = state.revision;
        });
    }

    /// Its store was set back: versions that others know are of the future.
    pub fn set_back(&self) {
        self.change(|state| (state.revision, state.log, state.oldest) = (1, Vec::new(), 0));
    }

    /// Connections stay open and new ones are taken, and nothing is ever said on them.
    pub fn freeze(&self) {
        self.change(|state| state.is_frozen = true);
    }

    /// New connections are answered; those from before hang for ever.
    pub fn thaw(&self) {
        self.change(|state| (state.is_frozen, state.thawed) = (false, state.connections));
    }

    /// Answers take so long.
    pub fn delay(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// Lists come in pages of so many.
    pub fn page(&self, page: usize) {
        self.change(|state| state.page = page);
    }

    /// Only this token is good.
    pub fn expect(&self, token: &str) {
        self.change(|state| state.token = Some(token.to_owned()));
    }

    /// When each request came, and what for.
    pub fn requests(&self) -> Vec<(Instant, String)> {
        self.shared.lock().requests.clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.shared.lock().connections
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.send_replace(());
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

/// A slice of the Service `ml/workers`, with port `grpc` 8001.
pub struct Slice {
    name: String,
    kind: &'static str,
    endpoints: Vec<Value>,
}

impl Slice {
    /// Without endpoints.
    pub fn new(name: &str) -> Slice {
        Slice { name: name.to_owned(), kind: "IPv4", endpoints: Vec::new() }
    }

    /// With an endpoint in these conditions.
    pub fn with(mut self, address: &str, conditions: Value) -> Slice {
        let target = json!({ "kind": "Pod", "namespace": "ml", "name": format!("pod-{address}"), "uid": address });
        self.endpoints
            .push(json!({ "addresses": [address], "conditions": conditions, "targetRef": target, "zone": "a" }));
        self
    }

    /// With endpoints that are ready.
    pub fn ready(self, addresses: &[&str]) -> Slice {
        addresses.iter().fold(self, |slice, address| slice.with(address, ready()))
    }

    /// With one that has names instead of addresses.
    pub fn of_names(self) -> Slice {
        Slice { kind: "FQDN", ..self }
    }

    fn object(&self, revision: u64) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": self.kind,
            "metadata": {
                "name": self.name, "namespace": "ml", "resourceVersion": revision.to_string(),
                "labels": { "kubernetes.io/service-name": "workers" },
            },
            "endpoints": self.endpoints,
            "ports": [{ "name": "grpc", "port": 8001, "protocol": "TCP" }],
        })
    }
}

pub fn ready() -> Value {
    json!({ "ready": true, "serving": true, "terminating": false })
}

pub fn terminating(serving: bool) -> Value {
    json!({ "ready": false, "serving": serving, "terminating": true })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Never returns on a connection that hangs.
    async fn unless_frozen(&self, connection: u64) {
        let hangs = {
            let state = self.lock();
            state.is_frozen || connection < state.thawed
        };
        if hangs {
            std::future::pending::<()>().await;
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut state = shared.lock();
            state.connections += 1;
            state.connections - 1
        };
        let shared = shared.clone();
        let service = service_fn(move |request| {
            let shared = shared.clone();
            async move { Ok::<_, Infallible>(answer(shared, number, request).await) }
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(shared: Arc<Shared>, connection: u64, request: Request<Incoming>) -> Response<Body> {
    let parameters = Parameters::of(&request);
    let (refusal, delay) = {
        let mut state = shared.lock();
        state.requests.push((Instant::now(), request.uri().to_string()));
        (state.refusal(&request, &parameters), state.delay)
    };
    shared.unless_frozen(connection).await;
    let _ = timeout_at((Instant::now() + delay).into(), std::future::pending::<()>()).await;
    match (refusal, parameters.watch) {
        (Some((code, reason)), _) => whole(code, &status(code, reason)),
        (None, true) => Response::new(watched(shared, connection, &parameters)),
        (None, false) => whole(200, &shared.lock().list(&parameters)),
    }
}

/// What of a request's query matters.
struct Parameters {
    watch: bool,
    version: u64,
    seconds: u64,
    limit: usize,
    start: usize,
}

impl Parameters {
    fn of(request: &Request<Incoming>) -> Parameters {
        let query = request.uri().query().unwrap_or_default();
        let pairs: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let number = |name: &str| pairs.get(name).and_then(|text| text.parse::<u64>().ok());
        let watch = pairs.get("watch").is_some_and(|text| matches!(*text, "1" | "true"));
        assert!(!watch || pairs.get("allowWatchBookmarks") == Some(&"true"), "{query}");
        assert_eq!(pairs.get("labelSelector"), Some(&"kubernetes.io%2Fservice-name%3Dworkers"), "{query}");
        Parameters {
            watch,
            version: number("resourceVersion").unwrap_or(0),
            seconds: number("timeoutSeconds").unwrap_or(300),
            limit: number("limit").unwrap_or(u64::MAX) as usize,
            start: number("continue").unwrap_or(0) as usize,
        }
    }
}

impl State {
    fn refusal(&mut self, request: &Request<Incoming>, parameters: &Parameters) -> Option<(u16, &'static str)> {
        let token = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let good = self.token.as_ref().map(|token| format!("Bearer {token}"));
        match (good, token) {
            (Some(_), None) => return Some((403, "Forbidden")),
            (Some(good), Some(token)) if good != token => return Some((401, "Unauthorized")),
            _ => {}
        }
        if self.forbidden > 0 {
            self.forbidden -= 1;
            return Some((403, "Forbidden"));
        }
        if request.uri().path() != "/apis/discovery.k8s.io/v1/namespaces/ml/endpointslices" {
            return Some((404, "NotFound"));
        }
        (!parameters.watch && parameters.version > self.revision).then_some((504, "Timeout"))
    }

    fn list(&self, parameters: &Parameters) -> Value {
        let page = parameters.limit.min(self.page);
        let items: Vec<&Value> = self.slices.values().skip(parameters.start).take(page).collect();
        let next = parameters.start + items.len();
        let token = if next < self.slices.len() { next.to_string() } else { String::new() };
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
            "metadata": { "resourceVersion": self.revision.to_string(), "continue": token },
            "items": items,
        })
    }
}

/// A watch under way.
struct Watch {
    shared: Arc<Shared>,
    connection: u64,
    changed: watch::Receiver<()>,
    version: u64,
    ends: Instant,
    has_ended: bool,
}

fn watched(shared: Arc<Shared>, connection: u64, parameters: &Parameters) -> Body {
    let watch = Watch {
        changed: shared.changed.subscribe(),
        shared,
        connection,
        version: parameters.version,
        ends: Instant::now() + Duration::from_secs(parameters.seconds),
        has_ended: false,
    };
    let lines = unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        let line = Bytes::from(format!("{event}\n"));
        Some((Ok::<_, Infallible>(Frame::data(line)), watch))
    });
    StreamBody::new(lines).boxed_unsync()
}

impl Watch {
    async fn next(&mut self) -> Option<Value> {
        loop {
            self.shared.unless_frozen(self.connection).await;
            if self.has_ended {
                return None;
            }
            if let Some(event) = self.waiting() {
                return Some(event);
            }
            let changed = timeout_at(self.ends.into(), self.changed.changed()).await;
            if changed.is_err() {
                self.has_ended = true;
                return self.bookmark();
            }
        }
    }

    fn waiting(&mut self) -> Option<Value> {
        let state = self.shared.lock();
        if self.version < state.oldest {
            self.has_ended = true;
            return Some(json!({ "type": "ERROR", "object": status(410, "Expired") }));
        }
        let change = state.log.iter().find(|change| change.revision > self.version)?;
        self.version = change.revision;
        Some(json!({ "type": change.kind, "object": change.slice }))
    }

    /// There is none for a version that is not reached yet.
    fn bookmark(&self) -> Option<Value> {
        let revision = self.shared.lock().revision;
        let metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        let object = json!({ "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata });
        (self.version <= revision).then(|| json!({ "type": "BOOKMARK", "object": object }))
    }
}

fn status(code: u16, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": format!("it says {reason}"), "reason": reason, "code": code,
    })
}

fn whole(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
