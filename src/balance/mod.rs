//! Third stage: who should do it. `router` leads a call to its model; behind it, in a gateway, are the endpoints of the
//! model.
//!
//! Whom there is to call: `roster` has a `pool` per model, made of what discovery tells and of what each `endpoint` says
//! that it serves. A call's way: `pool` has an endpoint picked for it by `pick`, from what `load` knows of how busy each is;
//! `attempt` sends it there. What goes wrong: `breaker` and `ejection` keep calls from who fails, `retry` and `hedge` send
//! them elsewhere, within a `budget`. Calls that wait at the gateway are laid out by `plan` over the
//! endpoints, which are then a `fleet` that grants slots, and not a pool; a `bell` tells it of changes.

mod attempt;
mod bell;
mod breaker;
mod budget;
mod ejection;
mod endpoint;
#[cfg(test)]
mod fixture;
mod fleet;
mod hedge;
pub mod load;
mod member;
pub mod pick;
pub mod plan;
mod pool;
mod retry;
mod roster;
mod router;
mod window;

pub use breaker::{Admission, Breaker, Change, Changes, Pass, Snapshot, State, patience};
pub use budget::RetryBudget;
pub use ejection::{Relief, Standing, nobody_ready, relieve};
pub use endpoint::{Asking, Connectivity, Dial, Endpoint, Io, Reply, Rules as EndpointRules, TlsFiles, over_tcp};
pub use fleet::{Fleet, FleetSlot};
pub use hedge::Hedging;
pub use member::Member;
pub use pool::{Extra, Members, Pool, Tactics, Traits};
pub use retry::{Attempt, GiveUp, Next, Ran, Speaks, decide};
pub use roster::{Assemble, Assemblies, Balanced, Census, Listed, Mergeable, Roster, RosterRules, Said, Serve, Told};
pub use router::Router;

/// The time. The runtime's clock stands still and leaps in tests; elsewhere it is the system's.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
