//! The life of a process that runs models: bind, load, serve, drain.

use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;

use super::inforce::{self, Models};
use super::ports::{Addresses, Bound, Ports};
use super::telemetry::Telling;
use super::{Engines, ModelService, Parts, Process, Telemetry, serve, served};
use crate::accept::Page;
use crate::config::Config;
use crate::models::{Catalog, Repository, RepositoryError, Summary};
use crate::observe::Ledger;
use crate::observe::push;
use crate::observe::trace::Counts;

/// Why a process did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// There is nothing to serve.
    #[error("no models: give --models DIR or MODEL.onnx")]
    NoModels,
    /// There is nobody to call.
    #[error("no backends: give --backend HOST:PORT, --dns NAME:PORT or --kubernetes NAMESPACE/SERVICE:PORT")]
    NoBackends,
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A port cannot be had.
    #[error("cannot listen on {address}: {reason}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error("tls: {0}")]
    Tls(String),
    /// A key of the configuration has a value that is none.
    #[error("{key}: {what}")]
    Key {
        /// The key.
        key: &'static str,
        /// What is wrong with it, and what is allowed.
        what: String,
    },
    /// Backends cannot be looked for.
    #[error("discovery: {0}")]
    Discovery(#[from] crate::discover::StartError),
}

impl StartError {
    /// Whether it comes from what the process was told, and not from the world that it is in.
    pub fn is_wrong_use(&self) -> bool {
        matches!(self, StartError::NoModels | StartError::NoBackends | StartError::Key { .. })
    }
}

/// A process that serves. Its tasks end with [`Server::drain`]; dropping it cuts everything off.
pub struct Server {
    addresses: Addresses,
    summary: Summary,
    catalog: Catalog<ModelService>,
    ledger: Arc<Ledger>,
    leaving: watch::Sender<bool>,
    ports: Ports,
    telling: Telling,
}

impl Server {
    /// Binds the ports, loads the models, and returns once calls are answered. While models load, the ports are open
    /// and say that they do.
    ///
    /// # Errors
    /// What keeps it from serving at all. A broken model does not.
    pub async fn start(config: &Config, engines: Engines) -> Result<Server, StartError> {
        Server::start_in(&config.into(), engines).await
    }

    /// The same as the work of `process`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_in(process: &Process, engines: Engines) -> Result<Server, StartError> {
        let config = &process.settings.config;
        let models = config.models.as_deref().ok_or(StartError::NoModels)?;
        let repository = Repository::open(models)?;
        let bound = Bound::bind(process).await?;
        let addresses = bound.addresses;
        let name = if config.load_report { "infergate-worker" } else { "infergate" };
        let telemetry = Telemetry::of(config, name)?;
        let tracer = telemetry.tracing.tracer.clone();
        let Parts { front, catalog, readiness, ledger, metrics, pusher, leaving } =
            serve(process, repository, engines, telemetry);
        let telling = Telling { tracer, pusher };
        let shown = catalog.clone();
        let page: Page = Arc::new(move || served::page(&shown));
        let models = Models::of(catalog.clone());
        let bound = bound.with_settings(inforce::with_models(process, &telling.tracer, models.clone()));
        let bound = bound.with("/models", "what is served, and what is not and why", page);
        let ports = bound.serve(front, readiness, metrics);
        let summary = catalog.load_all().await?;
        models.have_started();
        ports.ready();
        Ok(Server { addresses, summary, catalog, ledger, leaving, ports, telling })
    }

    /// The addresses that were bound.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// How loading the models went.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// What is served.
    pub fn catalog(&self) -> &Catalog<ModelService> {
        &self.catalog
    }

    /// Counts of calls by their end.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// What became of the calls whose spans are exported; none where there is no collector.
    pub fn traced(&self) -> Option<&Arc<Counts>> {
        self.telling.tracer.counts()
    }

    /// What became of pushes of metrics; none where there are none.
    pub fn pushed(&self) -> Option<&Arc<push::Counts>> {
        self.telling.pusher.as_ref().map(push::Pusher::counts)
    }

    /// Stops gently: says so, takes calls for as long as others need to notice, then lets what is in flight finish,
    /// and cuts off what is left after the grace.
    pub async fn drain(self) {
        let leaving = self.leaving;
        self.ports.drain(move || _ = leaving.send(true)).await;
        self.telling.flush().await;
    }
}
