//! First stage: a call arrives.

mod access;
mod admin;
mod answer;
mod budget;
mod calls;
mod company;
mod compression;
mod connection;
mod control;
mod front;
mod gateways;
mod generated;
mod listener;
mod message;
mod metadata;
mod names;
mod peer;
mod phase;
mod preface;
mod protocol;
mod questions;
mod stream;
mod timing;
mod tls;
mod tracing;
mod trailers;
mod unserved;

pub use access::Access;
pub use admin::{Admin, Concerns, Form, Page, Settings, Shown};
pub use budget::ByteBudget;
pub use calls::{Calls, Rules};
pub use control::{
    CatalogDirectory, Description, Directory, For, HealthService, OpenInferenceControl, Readiness, RuntimeSettings,
    TensorFlowControl, health_server, open_inference_server, prediction_server, reflection, status_server,
};
pub use front::Front;
pub use listener::{Listener, ListenerRules};
pub use message::BodyRules;
pub use metadata::Deadlines;
pub use peer::Peer;
pub use phase::{Phase, PhaseWatch, Phases};
pub use protocol::{OpenInference, Protocol, TensorFlowServing};
pub use tls::{Tls, TlsFiles};
pub use tracing::Tracing;
