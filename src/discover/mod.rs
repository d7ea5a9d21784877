//! Who exists: backends out of a fixed list, DNS or Kubernetes, as one set that is always complete. A source that fails
//! keeps what it said last; nothing here ever takes a backend away because somebody could not be asked.

pub use backend::{Backend, Backends, Change, Condition};
pub use source::{DnsName, Host, HostPort, KubernetesService, PortRef, Source, SourceError};

mod backend;
mod source;
