//! Third stage: who should do it.

mod router;

pub use router::Router;
