//! What an API server says: lists, watches, refusals.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::{Shared, State};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The answer to one request, or none ever on a connection that hangs.
pub async fn answer(shared: Arc<Shared>, connection: u64, request: Request<Incoming>) -> Response<Body> {
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
        let token =
            request.headers().get("authorization").and_then(|value| value.to_str().unwrap().strip_prefix("Bearer "));
        self.shown.extend(token.map(str::to_owned));
        match token {
            _ if self.tokens.is_empty() => {}
            None => return Some((403, "Forbidden")),
            Some(token) if !self.tokens.iter().any(|good| good == token) => return Some((401, "Unauthorized")),
            Some(_) => {}
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
