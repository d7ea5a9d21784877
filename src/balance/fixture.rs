//! What the tests of pools and of fleets share: endpoints over pipes in memory, and what a model's pools share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::endpoint::{Connectivity, Dial, Kept, Rules};
use super::pick::{Picker, Policy, SlowStart, Zones};
use super::pool::{Tactics, Traits};
use super::{Hedging, RetryBudget, now};
use crate::discover::{Backend, Condition};
use crate::infer::{InferRequest, Member as Caller, Target, Timeline};
use crate::tensor::{DType, Rope, Shape, Tensor};
use crate::wire::origin;

pub(super) const MS: Duration = Duration::from_millis(1);

/// One connection to an endpoint, which is asked whether it lives after so long.
pub(super) fn rules(silence: Duration, ping_timeout: Duration) -> Rules {
    Rules {
        connect_timeout: Duration::from_secs(1),
        silence,
        ping_timeout,
        connections: 1,
        windows: (1 << 20, 1 << 20),
        message_size: 1 << 20,
    }
}

/// An endpoint whose connections are pipes, and their other ends.
pub(super) fn piped(number: u16, rules: Rules) -> (Kept, mpsc::Receiver<DuplexStream>) {
    let (streams, arriving) = mpsc::channel::<DuplexStream>(4);
    let dial = Dial::through(move |_: SocketAddr| {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let taken = streams.try_send(theirs).map(|()| ours);
        std::future::ready(taken.map_err(|_| std::io::Error::other("refused")))
    });
    let backend = Backend { condition: Condition::Ready, ..Backend::at(([127, 0, 0, 1], number).into()) };
    (Kept::start(&backend, dial, Arc::new(rules)), arriving)
}

pub(super) async fn connected(kept: &Kept) {
    kept.endpoint().connectivity().wait_for(|now| *now == Connectivity::Connected).await.unwrap();
}

/// Of a model that nothing is known of but that.
pub(super) fn tactics(policy: Policy, traits: Traits) -> Arc<Tactics> {
    let now = now();
    Arc::new(Tactics {
        name: "m".parse().unwrap(),
        picker: Picker::new(policy, Zones::default(), SlowStart::default()),
        budget: RetryBudget::new(now),
        hedging: Hedging::new(now),
        traits: ArcSwap::from_pointee(traits),
        message_size: 1 << 20,
        origin: origin::origin(1),
        bell: Arc::default(),
        zero: now,
        extra: Default::default(),
        changes: Arc::default(),
        astir: Default::default(),
    })
}

/// So many rows of one float.
pub(super) fn floats(name: &'static str, rows: i64) -> Tensor {
    let data = Rope::from(vec![0; 4 * rows as usize]);
    Tensor::new(name.into(), DType::Fp32, Shape::new(&[rows, 1]).unwrap(), data).unwrap()
}

/// A call of `m` that comes now, with nine seconds.
pub(super) fn request(rows: i64) -> InferRequest {
    let began = now();
    let caller = Caller {
        id: "".into(),
        deadline: began + Duration::from_secs(9),
        trace: None,
        previous_attempts: 0,
        timeline: Timeline::start(began),
    };
    InferRequest::new(Target::parse("m".into(), "").unwrap(), [floats("x", rows)], caller)
}
