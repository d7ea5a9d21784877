//! What is rehearsed, each once: the end of a worker, a frozen one, and new versions of all of them one by one.

use std::time::Duration;

use tokio::time::sleep;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::load::Load;
use crate::report::Event;

/// How long a worker is frozen.
const FROZEN: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// A worker is killed, and started again at once, as a supervisor does.
    Kill,
    /// A worker does not run for a while.
    Freeze,
    /// Workers are stopped and started again, one after the other.
    RollWorkers,
    /// The same with gateways.
    RollGateways,
}

impl Scenario {
    pub const ALL: [Scenario; 4] = [Scenario::Kill, Scenario::Freeze, Scenario::RollWorkers, Scenario::RollGateways];

    /// How it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Kill => "kill",
            Scenario::Freeze => "freeze",
            Scenario::RollWorkers => "roll-workers",
            Scenario::RollGateways => "roll-gateways",
        }
    }

    /// What it is.
    pub fn title(self) -> &'static str {
        match self {
            Scenario::Kill => "one of five workers killed (-9) and started again",
            Scenario::Freeze => "one of five workers frozen (SIGSTOP) for 1.5 s",
            Scenario::RollWorkers => "five workers stopped and started anew, one by one",
            Scenario::RollGateways => "two gateways stopped and started anew, one by one",
        }
    }

    /// Does it for the `number`th time, and waits until everything is as it was.
    pub async fn perform(self, number: usize, cluster: &mut Cluster, client: &Client, load: &Load) -> Event {
        let began = load.now();
        let victim = number % cluster.workers.len();
        match self {
            Scenario::Kill => {
                cluster.workers[victim].kill().await;
                cluster.workers[victim].start().await;
            }
            Scenario::Freeze => {
                cluster.workers[victim].freeze();
                sleep(FROZEN).await;
                cluster.workers[victim].thaw();
            }
            Scenario::RollWorkers => {
                for worker in 0..cluster.workers.len() {
                    cluster.workers[worker].stop().await;
                    cluster.workers[worker].start().await;
                    cluster.whole().await;
                }
            }
            Scenario::RollGateways => {
                for gateway in 0..cluster.gateways.len() {
                    cluster.gateways[gateway].stop().await;
                    cluster.gateways[gateway].start().await;
                    cluster.whole().await;
                    client.whole().await;
                }
            }
        }
        cluster.whole().await;
        client.whole().await;
        Event { began, over: load.now() }
    }
}
