//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// A caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where it calls from.
    pub address: SocketAddr,
    /// Whether it decides whether its calls are recorded.
    pub is_trusted: bool,
}
