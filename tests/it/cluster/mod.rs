//! What a gateway finds around it, played by this process: an API server and a name server, over real sockets.

pub mod api_server;
pub mod name_server;
pub mod slice;
