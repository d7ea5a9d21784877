//! What is told at each path.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body::Body;

use super::page::{Answer, Form, Shown, aside, json, only, plain, typed, wants_json};
use super::{form, log, profile, ready};
use crate::accept::control::{Directory, Readiness};
use crate::observe::{Metrics, PROTOBUF, TEXT};

/// What every process tells, and what that is.
const PATHS: [(&str, &str); 6] = [
    ("/livez", "whether it lives"),
    ("/readyz", "whether it can be called, and what is wrong; ?verbose for JSON"),
    ("/metrics", "numbers, for Prometheus"),
    ("/config", "the settings in force, who set them, and what has changed since the start; ?json for JSON"),
    ("/log", "what is logged; PUT another filter to change it"),
    ("/profile", "where the CPU's time goes, sampled for ?seconds=10, as a flame graph"),
];

/// Answers requests to the admin port.
pub(super) struct Answers<D: Directory> {
    pub(super) readiness: Readiness<D>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shown: Shown,
}

impl<D: Directory> Answers<D> {
    /// Answers one request. What changes anything or costs much is for those who are on this machine.
    pub(super) async fn to<B>(&self, request: Request<B>, is_here: bool) -> Answer
    where
        B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let (asked, body) = request.into_parts();
        match asked.uri.path() {
            "/log" | "/profile" if !is_here && !is_only_read(&asked) => {
                plain(StatusCode::FORBIDDEN, "this is done for callers on this machine only\n")
            }
            "/log" => log::log(self.shown.log.as_ref(), &asked.method, body).await,
            _ if !matches!(asked.method, Method::GET | Method::HEAD) => only("GET, HEAD"),
            "/" => plain(StatusCode::OK, self.index()),
            "/livez" => plain(StatusCode::OK, "live\n"),
            "/readyz" => ready::ready(&self.readiness, &self.shown.concerns, &asked).await,
            "/metrics" => {
                let (metrics, wants_protobuf) = (self.metrics.clone(), form::wants_protobuf(&asked.headers));
                aside(move || match wants_protobuf {
                    true => typed(PROTOBUF, metrics.protobuf()),
                    false => typed(TEXT, metrics.text()),
                })
                .await
            }
            "/profile" => profile::profile(&asked).await,
            "/config" => self.settings(&asked).await,
            path => match self.shown.pages.iter().find(|(known, ..)| *known == path) {
                Some((_, _, page)) => {
                    let page = page.clone();
                    aside(move || json(StatusCode::OK, &page())).await
                }
                None => plain(StatusCode::NOT_FOUND, format!("not here; here are\n{}", self.index())),
            },
        }
    }

    async fn settings(&self, asked: &Parts) -> Answer {
        let Some(settings) = self.shown.settings.clone() else {
            return plain(StatusCode::NOT_IMPLEMENTED, "this process was not told its settings by a file\n");
        };
        let (form, media_type) = match wants_json(asked, "json") {
            true => (Form::Json, "application/json"),
            false => (Form::Toml, "application/toml"),
        };
        aside(move || typed(media_type, settings(form))).await
    }

    /// Each path with what is there.
    fn index(&self) -> String {
        let pages = self.shown.pages.iter().map(|(path, about, _)| (*path, *about));
        PATHS.into_iter().chain(pages).map(|(path, about)| format!("{path} - {about}\n")).collect()
    }
}

/// Whether what is known anyhow is read, and nothing done for it.
fn is_only_read(asked: &Parts) -> bool {
    asked.uri.path() == "/log" && matches!(asked.method, Method::GET | Method::HEAD)
}
