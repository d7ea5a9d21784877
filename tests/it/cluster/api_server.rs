//! An API server that knows nothing but EndpointSlices, and behaves and misbehaves as real ones do: an expired watch is
//! 200 with an `ERROR` event; just after a restart valid accounts get 403; versions from before a restart are expired; a
//! watch from a version of the future is silent; a frozen server takes connections and says nothing; bookmarks come just
//! before a watch ends.

mod answers;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::slice::Slice;

/// Dropping it stops it.
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    tls: Option<Tls>,
    accepting: Option<JoinHandle<()>>,
}

/// A certificate for this machine, and those who trust it.
struct Tls {
    certificate: String,
    acceptor: TlsAcceptor,
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
    /// The tokens that are good, if any is needed.
    tokens: Vec<String>,
    /// Those that came, each once.
    shown: BTreeSet<String>,
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
        ApiServer::over(None).await
    }

    /// The same behind TLS, as real ones are.
    pub async fn with_tls() -> ApiServer {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private).unwrap();
        ApiServer::over(Some(Tls { certificate: certificate.pem(), acceptor: Arc::new(config).into() })).await
    }

    async fn over(tls: Option<Tls>) -> ApiServer {
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
            tokens: Vec::new(),
            shown: BTreeSet::new(),
            delay: Duration::ZERO,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: watch::channel(()).0 });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = ApiServer { address, shared, tls, accepting: None };
        server.accept(listener);
        server
    }

    /// A file that says how to reach it, with a token.
    pub fn kubeconfig(&self, folder: &Path, token: &str) -> PathBuf {
        let cluster = match &self.tls {
            Some(tls) => json!({
                "server": format!("https://{}", self.address),
                "certificate-authority-data": STANDARD.encode(&tls.certificate),
            }),
            None => json!({ "server": format!("http://{}", self.address) }),
        };
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            "clusters": [{ "name": "c", "cluster": cluster }],
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
        self.accept(listener);
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
        self.change(|state| state.tokens = vec![token.to_owned()]);
    }

    /// This token is good as well.
    pub fn accept_too(&self, token: &str) {
        self.change(|state| state.tokens.push(token.to_owned()));
    }

    /// The tokens that came, good or not.
    pub fn shown(&self) -> BTreeSet<String> {
        self.shared.lock().shown.clone()
    }

    /// Who trusts it. Only one behind TLS has it.
    pub fn certificate(&self) -> &str {
        &self.tls.as_ref().expect("it is behind TLS").certificate
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When each request came, and what for.
    pub fn requests(&self) -> Vec<(Instant, String)> {
        self.shared.lock().requests.clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.shared.lock().connections
    }

    fn accept(&mut self, listener: TcpListener) {
        let acceptor = self.tls.as_ref().map(|tls| tls.acceptor.clone());
        self.accepting = Some(tokio::spawn(accept(listener, acceptor, self.shared.clone())));
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

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(secure(stream, tls.clone(), shared.clone()));
    }
}

async fn secure(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    match tls {
        None => serve(stream, shared).await,
        Some(tls) => {
            let Ok(stream) = tls.accept(stream).await else { return };
            serve(stream, shared).await;
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let number = {
        let mut state = shared.lock();
        state.connections += 1;
        state.connections - 1
    };
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answers::answer(shared, number, request).await) }
    });
    // Clients go when they like.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
