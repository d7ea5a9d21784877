//! What is told on the admin port, and in which form.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use crate::observe::log::Log;

/// Tells something of the process as JSON, from what is known.
pub type Page = Arc<dyn Fn() -> Value + Send + Sync>;

/// Tells the settings in force, as JSON where that is asked for, else as TOML.
pub type Settings = Arc<dyn Fn(Form) -> String + Send + Sync>;

/// How settings are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As a file could have them.
    Toml,
    /// For programs.
    Json,
}

/// Names what may be wrong without keeping the process from answering calls, each in a sentence; at once, as it is called on
/// a thread that may not block.
pub type Concerns = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// What a process shows beside what every one does.
#[derive(Default)]
pub struct Shown {
    /// Pages: their paths, which begin with a slash, what they tell, and how.
    pub pages: Vec<(&'static str, &'static str, Page)>,
    /// What may be wrong.
    pub concerns: Vec<Concerns>,
    /// The configuration in force.
    pub settings: Option<Settings>,
    /// What is logged.
    pub log: Option<Log>,
}

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// An answer that is made on a thread of its own: what a large process tells is megabytes, and calls have no time for that.
pub(super) async fn aside(make: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let made = tokio::task::spawn_blocking(make).await;
    made.unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, "this could not be told\n"))
}

pub(super) fn plain(status: StatusCode, text: impl Into<Full<Bytes>>) -> Answer {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

pub(super) fn typed(media_type: &'static str, body: impl Into<Full<Bytes>>) -> Answer {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    let mut response = typed("application/json", value.to_string());
    *response.status_mut() = status;
    response
}

/// A refusal of any method but these.
pub(super) fn only(methods: &'static str) -> Answer {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, format!("allowed here is {methods}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Whether JSON is asked for: by `Accept`, or by a key of the query.
pub(super) fn wants_json(asked: &Parts, key: &str) -> bool {
    let accepts = asked.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    query(asked, key).is_some() || accepts.is_some_and(|accept| accept.contains("application/json"))
}

/// The value of a key of the query; empty for a key without one.
pub(super) fn query<'a>(asked: &'a Parts, key: &str) -> Option<&'a str> {
    let pairs = asked.uri.query().unwrap_or_default().split('&');
    let mut named = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).filter(|(name, _)| *name == key);
    named.next().map(|(_, value)| value)
}
