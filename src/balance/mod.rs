//! Third stage: who should do it.

mod endpoint;
mod router;

pub use router::Router;

/// The time. The runtime's clock stands still and leaps in tests; elsewhere it is the system's.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
