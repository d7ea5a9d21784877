//! The life of a serving process: bind, load, serve, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{Engines, ModelService, Parts, serve};
use crate::accept::{Admin, Listener, ListenerRules, Phase, Phases, Tls, TlsFiles};
use crate::config::Config;
use crate::models::{Catalog, Repository, RepositoryError, Summary};
use crate::observe::Ledger;

/// Why a server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// There is nothing to serve.
    #[error("no models: give --models DIR or MODEL.onnx")]
    NoModels,
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
}

/// The addresses that were bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Of the calls' port.
    pub grpc: SocketAddr,
    /// Of the admin port.
    pub admin: SocketAddr,
}

/// A process that serves. Its tasks end with [`Server::drain`]; dropping it cuts everything off.
pub struct Server {
    addresses: Addresses,
    summary: Summary,
    catalog: Catalog<ModelService>,
    ledger: Arc<Ledger>,
    leaving: watch::Sender<bool>,
    drain: crate::config::Drain,
    ports: Ports,
}

/// The tasks behind the ports. Dropping them cuts everything off, also where the server did not come to serve.
struct Ports {
    phases: Phases,
    calls: JoinHandle<()>,
    admin: JoinHandle<()>,
}

impl Server {
    /// Binds the ports, loads the models, and returns once calls are answered. While models load, the ports are open
    /// and say that they do.
    ///
    /// # Errors
    /// What keeps it from serving at all. A broken model does not.
    pub async fn start(config: &Config, engines: Engines) -> Result<Server, StartError> {
        let models = config.models.as_deref().ok_or(StartError::NoModels)?;
        let repository = Repository::open(models)?;
        let rules = ListenerRules {
            http2: config.http2.clone(),
            connections: config.limits.connections,
            connections_per_ip: config.limits.connections_per_ip,
        };
        let bind = |address| move |reason| StartError::Bind { address, reason };
        let listener = Listener::bind(config.listen, tls(config)?, rules).await.map_err(bind(config.listen))?;
        let admin = Admin::bind(config.admin).await.map_err(bind(config.admin))?;
        let addresses = Addresses {
            grpc: listener.address().map_err(bind(config.listen))?,
            admin: admin.address().map_err(bind(config.admin))?,
        };

        let Parts { front, catalog, readiness, ledger, metrics, leaving } = serve(config, repository, engines);
        let phases = readiness.phases.clone();
        let calls = tokio::spawn(listener.serve(front, phases.watch()));
        let admin = tokio::spawn(admin.serve(readiness, metrics));
        let ports = Ports { phases, calls, admin };
        let summary = catalog.load_all().await?;
        ports.phases.advance(Phase::Serving);
        Ok(Server { addresses, summary, catalog, ledger, leaving, drain: config.drain.clone(), ports })
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

    /// Stops gently: says so, takes calls for as long as others need to notice, then lets what is in flight finish,
    /// and cuts off what is left after the grace.
    pub async fn drain(mut self) {
        let began = Instant::now();
        tracing::info!("draining");
        let Ports { phases, calls, .. } = &mut self.ports;
        phases.advance(Phase::Announcing);
        sleep(self.drain.announce.get()).await;
        phases.advance(Phase::Leaving);
        let _ = self.leaving.send(true);
        if timeout(self.drain.grace.get(), &mut *calls).await.is_err() {
            tracing::warn!("calls were still in flight after the grace, they are cut off");
            phases.advance(Phase::Cut);
            let _ = calls.await;
        }
        tracing::info!(ms = began.elapsed().as_millis() as u64, "drained");
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        self.phases.advance(Phase::Cut);
        self.calls.abort();
        self.admin.abort();
    }
}

fn tls(config: &Config) -> Result<Option<Tls>, StartError> {
    let (Some(cert), Some(key)) = (&config.tls.cert, &config.tls.key) else { return Ok(None) };
    let files = TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: config.tls.client_ca.clone() };
    Tls::load(&files).map(Some).map_err(StartError::Tls)
}
