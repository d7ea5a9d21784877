//! The ports of a process and the tasks behind them: bound first, so that what is wrong with them is said at once,
//! served then, drained at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{Process, StartError};
use crate::accept::{
    Admin, Concerns, Directory, Front, Listener, ListenerRules, Page, Phase, Phases, Readiness, Settings, Tls, TlsFiles,
};
use crate::config::{Config, Drain};
use crate::infer::Infer;
use crate::observe::Metrics;

/// The addresses that were bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Of the calls' port.
    pub grpc: SocketAddr,
    /// Of the admin port.
    pub admin: SocketAddr,
}

/// Ports that are bound, and not yet served.
pub(super) struct Bound {
    listener: Listener,
    admin: Admin,
    pub(super) addresses: Addresses,
    drain: Drain,
}

impl Bound {
    /// Binds the ports that the settings of `process` name.
    pub(super) async fn bind(process: &Process) -> Result<Bound, StartError> {
        let config = &process.settings.config;
        let rules = ListenerRules {
            http2: config.http2.clone(),
            connections: config.limits.connections,
            connections_per_ip: config.limits.connections_per_ip,
        };
        let bind = |address| move |reason| StartError::Bind { address, reason };
        let listener = Listener::bind(config.listen, tls(config)?, rules).await.map_err(bind(config.listen))?;
        let admin = Admin::bind(config.admin, process.shown()).await.map_err(bind(config.admin))?;
        let addresses = Addresses {
            grpc: listener.address().map_err(bind(config.listen))?,
            admin: admin.address().map_err(bind(config.admin))?,
        };
        Ok(Bound { listener, admin, addresses, drain: config.drain.clone() })
    }

    /// Shows one more page on the admin port.
    pub(super) fn with(mut self, path: &'static str, about: &'static str, page: Page) -> Bound {
        self.admin = self.admin.with(path, about, page);
        self
    }

    /// Tells these settings there as those in force.
    pub(super) fn with_settings(mut self, settings: Settings) -> Bound {
        self.admin = self.admin.with_settings(settings);
        self
    }

    /// Names these there, where it is asked what is wrong.
    pub(super) fn concerned(mut self, concerns: Concerns) -> Bound {
        self.admin = self.admin.concerned(concerns);
        self
    }

    /// Answers on the ports.
    pub(super) fn serve<S: Infer, D: Directory>(
        self,
        front: Arc<Front<S>>,
        readiness: Readiness<D>,
        metrics: Arc<Metrics>,
    ) -> Ports {
        let phases = readiness.phases.clone();
        let calls = tokio::spawn(self.listener.serve(front, phases.watch()));
        let admin = tokio::spawn(self.admin.serve(readiness, metrics));
        Ports { phases, drain: self.drain, calls, admin }
    }
}

/// The tasks behind the ports. Dropping them cuts everything off, also where the process did not come to serve.
pub(super) struct Ports {
    phases: Phases,
    drain: Drain,
    calls: JoinHandle<()>,
    admin: JoinHandle<()>,
}

impl Ports {
    /// The process can be called.
    pub(super) fn ready(&self) {
        self.phases.advance(Phase::Serving);
    }

    /// Stops gently: says so, takes calls for as long as others need to notice, then calls `leaving`, lets what is in
    /// flight finish, and cuts off what is left after the grace.
    pub(super) async fn drain(mut self, leaving: impl FnOnce()) {
        let began = Instant::now();
        tracing::info!("draining");
        self.phases.advance(Phase::Announcing);
        sleep(self.drain.announce.get()).await;
        self.phases.advance(Phase::Leaving);
        leaving();
        if timeout(self.drain.grace.get(), &mut self.calls).await.is_err() {
            tracing::warn!("calls were still in flight after the grace, they are cut off");
            self.phases.advance(Phase::Cut);
            let _ = (&mut self.calls).await;
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
