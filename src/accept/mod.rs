//! First stage: a call arrives.

mod answer;
mod budget;
mod calls;
mod compression;
mod connection;
mod front;
mod listener;
mod message;
mod metadata;
mod phase;
mod preface;
mod protocol;
mod stream;
mod timing;
mod tls;

pub use budget::ByteBudget;
pub use calls::{Calls, Rules};
pub use front::Front;
pub use listener::{Listener, ListenerRules};
pub use message::BodyRules;
pub use metadata::Deadlines;
pub use phase::{Phase, PhaseWatch, Phases};
pub use tls::{Tls, TlsFiles};
