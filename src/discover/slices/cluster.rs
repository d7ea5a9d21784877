//! How to reach an API server, and at what pace. Every request has a connection of its own, and nothing is retried here.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{CONNECTION, HeaderValue};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use tokio::time::sleep_until;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::super::feed::now;

/// A connection is made by then.
const CONNECT: Duration = Duration::from_secs(5);

/// The pace of requests from one process, whatever the number of Services: 10 in a second at most.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(100);

/// An API server. Cheap to clone; clones share one pace.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    /// After how long the API server ends a watch, in whole seconds.
    pub watch_timeout: Duration,
    next_request: Arc<Mutex<Instant>>,
    silence: Dispatch,
}

impl Cluster {
    /// Finds out how to reach it; does not reach it yet. Must be called within a Tokio runtime.
    pub fn new(kubeconfig: Option<&Path>, watch_timeout: Duration) -> Result<Cluster, String> {
        let mut config = match kubeconfig {
            Some(path) => Kubeconfig::read_from(path).and_then(Config::try_from).map_err(|error| chain(&error))?,
            None => found_config()?,
        };
        // An API server that is dead behind a kept connection would be asked there again. Also, whoever is behind a load
        // balancer gets to see another server now and then.
        config.headers.push((CONNECTION, HeaderValue::from_static("close")));
        config.connect_timeout = Some(CONNECT);
        config.default_retry = false;
        // Out of the environment as well, where it is meant for the world outside.
        config.proxy_url = None;
        let client = Client::try_from(config).map_err(|error| chain(&error))?;
        let watch_timeout = Duration::from_secs(watch_timeout.as_secs().max(1));
        let silence = Dispatch::new(NoSubscriber::default());
        Ok(Cluster { client, watch_timeout, next_request: Arc::new(Mutex::new(now())), silence })
    }

    /// Without what the client logs by itself: an error for each try. Nothing of ours may be logged in there.
    pub fn quietly<F: Future>(&self, request: F) -> impl Future<Output = F::Output> + use<F> {
        request.with_subscriber(self.silence.clone())
    }

    /// Waits until it is our turn to ask.
    pub async fn turn(&self) {
        let turn = {
            let mut next = self.next_request.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(now());
            *next = turn + BETWEEN_REQUESTS;
            turn
        };
        sleep_until(turn.into()).await;
    }
}

/// As `kubectl` finds it, else as a pod does.
fn found_config() -> Result<Config, String> {
    let no_file = match Kubeconfig::read().and_then(Config::try_from) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    Config::incluster().map_err(|no_pod| format!("{}; and this is no pod: {}", chain(&no_file), chain(&no_pod)))
}

/// An error with its causes, those that are not told already.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
