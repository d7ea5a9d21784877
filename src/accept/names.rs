//! Headers by their names, which are parsed once and not with each call.

use http::HeaderName;

use crate::wire::orca;

pub(super) const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub(super) const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
pub(super) const LOAD_REPORT: HeaderName = HeaderName::from_static(orca::TRAILER);
pub(super) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
