//! The gateway under test, and backends on ports of this machine for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use infergate::balance::Roster;
use infergate::config::{Config, Period};
use infergate::observe::trace::Counts;
use infergate::observe::{Ledger, Totals};
use infergate::role::{Addresses, Gateway, StartError};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::{Channel, Endpoint};

use super::backend::Part;
use super::message::{echo, echoed};
use super::page::get;
use super::raw::Raw;
use super::serving::Oip;
use super::wait::{eventually, within};

/// A gateway in this process, on ports of its own. A test ends with [`Fronting::finish`].
pub struct Fronting {
    gateway: Option<Gateway>,
    addresses: Addresses,
    ledger: Arc<Ledger>,
    traced: Option<Arc<Counts>>,
    is_finished: bool,
}

impl Fronting {
    /// In front of these, all of which it knows when this returns.
    pub async fn of(backends: &[SocketAddr]) -> Fronting {
        Fronting::with(backends, |_| ()).await
    }

    /// The same with another configuration.
    pub async fn with(backends: &[SocketAddr], configure: impl FnOnce(&mut Config)) -> Fronting {
        let fronting = Fronting::start(backends, configure).await.unwrap();
        fronting.knows(backends.len()).await;
        fronting
    }

    /// The same, without waiting.
    ///
    /// # Errors
    /// Why it did not start.
    pub async fn start(backends: &[SocketAddr], configure: impl FnOnce(&mut Config)) -> Result<Fronting, StartError> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config { listen: any_port, admin: any_port, ..Config::default() };
        let list: Vec<String> = backends.iter().map(ToString::to_string).collect();
        config.discovery.backends = serde_json::from_value(serde_json::json!(list)).unwrap();
        config.drain.announce = Period::ZERO;
        config.balance.survey_interval = Period::millis(500);
        configure(&mut config);
        let gateway = within(Gateway::start(&config)).await?;
        let (addresses, ledger, traced) = (gateway.addresses(), gateway.ledger().clone(), gateway.traced().cloned());
        Ok(Fronting { gateway: Some(gateway), addresses, ledger, traced, is_finished: false })
    }

    /// Waits until so many backends are connected, and have said what they serve and what it is like.
    pub async fn knows(&self, count: usize) {
        eventually("the gateway knows its backends", async || {
            let known = |endpoint: &&Value| {
                endpoint["connection"] == "connected"
                    && endpoint["surveyed"] == true
                    && endpoint["models"].as_array().is_some_and(|models| !models.is_empty())
            };
            self.endpoints().await.iter().filter(known).count() == count
        })
        .await;
    }

    /// What it tells of its endpoints on its admin port.
    pub async fn endpoints(&self) -> Vec<Value> {
        let (status, body) = self.get("/endpoints").await;
        assert_eq!(status, 200);
        serde_json::from_str::<Value>(&body).unwrap()["endpoints"].as_array().unwrap().clone()
    }

    /// What it tells of the one at this address.
    pub async fn endpoint(&self, address: SocketAddr) -> Value {
        let address = address.to_string();
        let endpoints = self.endpoints().await;
        endpoints.into_iter().find(|endpoint| endpoint["address"] == *address).expect("it is listed")
    }

    /// The state of the breaker of the first model of the one at this address.
    pub async fn breaker(&self, address: SocketAddr) -> String {
        self.endpoint(address).await["models"][0]["breaker"].as_str().unwrap().to_owned()
    }

    /// A page of the admin port.
    pub async fn get(&self, path: &str) -> (u16, String) {
        get(self.addresses.admin, path).await
    }

    /// Whom it calls.
    pub fn roster(&self) -> &Roster {
        self.gateway.as_ref().expect("it was neither killed nor drained").roster()
    }

    pub fn grpc(&self) -> SocketAddr {
        self.addresses.grpc
    }

    pub fn admin(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// A new connection for generated clients.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc())).unwrap();
        within(endpoint.connect()).await.unwrap()
    }

    /// A client of the Open Inference Protocol on a new connection.
    pub async fn oip(&self) -> Oip {
        Oip::new(self.channel().await)
    }

    /// A new connection for HTTP/2 by hand.
    pub async fn raw(&self) -> Raw {
        Raw::connect(self.grpc()).await
    }

    /// What became of the calls whose spans are exported.
    pub fn traced(&self) -> &Arc<Counts> {
        self.traced.as_ref().expect("it has a collector")
    }

    /// Calls by their end.
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// A call of `echo` on a new connection is answered.
    pub async fn answers_as_ever(&self) {
        let response = within(self.oip().await.model_infer(echo(&[1.0, -2.5]))).await.unwrap();
        assert_eq!(echoed(response.get_ref()), [1.0, -2.5]);
    }

    /// Cuts everything off at once, as a crash does.
    pub fn kill(&mut self) {
        drop(self.gateway.take().expect("it is killed once"));
    }

    /// Begins to drain.
    pub fn drain(&mut self) -> JoinHandle<()> {
        tokio::spawn(self.gateway.take().expect("it drains once").drain())
    }

    /// Ends the test, once every call has ended, exactly once.
    pub async fn finish(mut self) -> Totals {
        eventually("the five ends add up to the accepted calls", async || {
            let Totals { accepted, answered, failed, refused, expired, abandoned } = self.totals();
            answered + failed + refused + expired + abandoned == accepted
        })
        .await;
        self.is_finished = true;
        self.totals()
    }
}

impl Drop for Fronting {
    fn drop(&mut self) {
        assert!(self.is_finished || std::thread::panicking(), "a test ends with `fronting.finish().await`");
    }
}

/// A scripted backend on a port of this machine. Dropped it is gone.
pub struct Standing {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Standing {
    pub async fn of(part: &Part) -> Standing {
        Standing::at((Ipv4Addr::LOCALHOST, 0).into(), part).await
    }

    /// At this address.
    pub async fn at(address: SocketAddr, part: &Part) -> Standing {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let part = part.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(part.clone().attend(stream));
            }
        });
        Standing { address, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.task.abort();
    }
}
