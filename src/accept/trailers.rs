//! What a unary answer ends with.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::metadata::Metadata;
use super::names::{LOAD_REPORT, SERVER_TIMING};
use crate::infer::{Execution, LoadReport, Spent};
use crate::wire::stages::{self, Told};
use crate::wire::{orca, status};

/// The trailers of a call that went well: its status, and where its time went. Gateways are told in few bytes, others as
/// `breakdown` says, where they are to be told here.
pub fn trailers(spent: &Spent, execution: &Execution, metadata: &Metadata, breakdown: Option<Bytes>) -> HeaderMap {
    let mut trailers = status::ok_trailers();
    match metadata.origin {
        Some(_) => {
            let told = Told::new(*spent, &execution.composition, execution.members);
            put(&mut trailers, stages::TRAILER, stages::trailer(&told).into());
        }
        None => breakdown.into_iter().for_each(|told| put(&mut trailers, SERVER_TIMING, told)),
    }
    trailers
}

/// Says how busy the model is; all that is known of it only to those who plan with it.
pub fn report(trailers: &mut HeaderMap, load: &LoadReport, metadata: &Metadata) {
    let report = if metadata.origin.is_some() { orca::trailer(load) } else { orca::short_trailer(load) };
    put(trailers, LOAD_REPORT, report.into());
}

fn put(trailers: &mut HeaderMap, name: HeaderName, value: Bytes) {
    if let Ok(mut value) = HeaderValue::from_maybe_shared(value) {
        // No value comes twice, so that none should push others out of the connection's table of headers.
        value.set_sensitive(true);
        trailers.insert(name, value);
    }
}
