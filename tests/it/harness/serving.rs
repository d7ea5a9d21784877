//! The server under test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use infergate::config::{Config, Period};
use infergate::observe::push;
use infergate::observe::trace::Counts;
use infergate::observe::{Ledger, Totals};
use infergate::role::{Addresses, Engines, Server, StartError};
use infergate::wire::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::message::{echo, echoed};
use super::model::{Model, engines};
use super::page::get;
use super::raw::Raw;
use super::wait::{eventually, within};

/// The generated client of the Open Inference Protocol.
pub type Oip = GrpcInferenceServiceClient<Channel>;

/// A server in this process, on ports of its own, over a repository of its own. A test ends with
/// [`Serving::finish`]; dropped otherwise, everything is cut off.
pub struct Serving {
    server: Option<Server>,
    addresses: Addresses,
    ledger: Arc<Ledger>,
    traced: Option<Arc<Counts>>,
    pushed: Option<Arc<push::Counts>>,
    folder: TempDir,
    is_finished: bool,
}

impl Serving {
    /// Serves these models.
    pub async fn of(models: impl IntoIterator<Item = Model>) -> Serving {
        Serving::with(models, |_| ()).await
    }

    /// Serves these models with another configuration.
    pub async fn with(models: impl IntoIterator<Item = Model>, configure: impl FnOnce(&mut Config)) -> Serving {
        Serving::start(models, configure).await.unwrap()
    }

    /// The same.
    ///
    /// # Errors
    /// Why it did not start.
    pub async fn start(
        models: impl IntoIterator<Item = Model>,
        configure: impl FnOnce(&mut Config),
    ) -> Result<Serving, StartError> {
        let models: Vec<Model> = models.into_iter().collect();
        let folder = tempfile::tempdir().unwrap();
        models.iter().for_each(|model| model.write(folder.path()));
        Serving::over(folder, engines(models), configure).await
    }

    /// Serves the repository in `folder` with any engines.
    ///
    /// # Errors
    /// Why it did not start.
    pub async fn over(
        folder: TempDir,
        engines: Engines,
        configure: impl FnOnce(&mut Config),
    ) -> Result<Serving, StartError> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let models = Some(folder.path().to_owned());
        let mut config = Config { listen: any_port, admin: any_port, models, ..Config::default() };
        // Enough for calls of a test to run side by side, whatever machine it runs on.
        config.compute.cpus = Some(4);
        config.drain.announce = Period::ZERO;
        configure(&mut config);
        let server = within(Server::start(&config, engines)).await?;
        let (addresses, ledger) = (server.addresses(), server.ledger().clone());
        let (traced, pushed) = (server.traced().cloned(), server.pushed().cloned());
        Ok(Serving { server: Some(server), addresses, ledger, traced, pushed, folder, is_finished: false })
    }

    /// Where calls are taken.
    pub fn grpc(&self) -> SocketAddr {
        self.addresses.grpc
    }

    /// Where probes are answered.
    pub fn admin(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// The repository.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new connection for generated clients.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc())).unwrap();
        within(endpoint.connect()).await.unwrap()
    }

    /// A client of the Open Inference Protocol on a new connection.
    pub async fn oip(&self) -> Oip {
        let most = 64 << 20;
        Oip::new(self.channel().await).max_decoding_message_size(most).max_encoding_message_size(most)
    }

    /// A new connection for HTTP/2 by hand.
    pub async fn raw(&self) -> Raw {
        Raw::connect(self.grpc()).await
    }

    /// What became of the calls whose spans are exported.
    pub fn traced(&self) -> &Arc<Counts> {
        self.traced.as_ref().expect("it has a collector")
    }

    /// What became of pushes of its metrics.
    pub fn pushed(&self) -> &Arc<push::Counts> {
        self.pushed.as_ref().expect("it has a collector for metrics")
    }

    /// Whether it makes no spans.
    pub fn is_untraced(&self) -> bool {
        self.traced.is_none()
    }

    /// What it tells of itself.
    pub async fn metrics(&self) -> String {
        get(self.admin(), "/metrics").await.1
    }

    /// Calls by their end.
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// A call of `echo` on a new connection is answered as if nothing had happened.
    pub async fn answers_as_ever(&self) {
        let response = within(self.oip().await.model_infer(echo(&[1.0, -2.5]))).await.unwrap();
        assert_eq!(echoed(response.get_ref()), [1.0, -2.5]);
    }

    /// Begins to drain.
    pub fn drain(&mut self) -> JoinHandle<()> {
        tokio::spawn(self.server.take().expect("it drains once").drain())
    }

    /// Cuts everything off at once, as a crash does.
    pub fn kill(&mut self) {
        drop(self.server.take().expect("it is killed once"));
    }

    /// Waits until every call that was accepted has ended, exactly once.
    pub async fn settled(&self) {
        let have_ended = async || {
            let Totals { accepted, answered, failed, refused, expired, abandoned } = self.totals();
            answered + failed + refused + expired + abandoned == accepted
        };
        eventually("the five ends add up to the accepted calls", have_ended).await;
    }

    /// Ends the test, once every call has ended.
    pub async fn finish(mut self) -> Totals {
        self.settled().await;
        self.is_finished = true;
        self.totals()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        assert!(self.is_finished || std::thread::panicking(), "a test ends with `serving.finish().await`");
    }
}
