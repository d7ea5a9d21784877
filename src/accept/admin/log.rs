//! What is logged: told, and changed until the process ends.

use http::{Method, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Limited};

use super::page::{Answer, only, plain};
use crate::config::{LogFilter, Setting};
use crate::observe::log::Log;

/// The longest filter.
const LONGEST: usize = 4096;

/// Tells the filter in force, or takes another.
pub(super) async fn log<B>(log: Option<&Log>, method: &Method, body: B) -> Answer
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let Some(log) = log else {
        return plain(StatusCode::NOT_IMPLEMENTED, "this process did not start its log itself\n");
    };
    match *method {
        Method::GET | Method::HEAD => plain(StatusCode::OK, format!("{}\n", log.filter())),
        Method::PUT => match Limited::new(body, LONGEST).collect().await {
            Ok(body) => exchange(log, &body.to_bytes()),
            Err(_) => plain(StatusCode::PAYLOAD_TOO_LARGE, format!("a filter has at most {LONGEST} bytes\n")),
        },
        _ => only("GET, HEAD, PUT"),
    }
}

fn exchange(log: &Log, body: &[u8]) -> Answer {
    let text = str::from_utf8(body).map(str::trim).unwrap_or_default();
    let before = log.filter();
    let set = text.parse::<LogFilter>().map_err(|_| format!("found {text:?}"));
    match set.and_then(|filter| log.set_filter(filter.as_str())) {
        Ok(()) => {
            // Whoever reads the log later wonders why it changes here.
            tracing::warn!(from = before, to = text, "log filter changed");
            plain(StatusCode::OK, format!("{text}\n"))
        }
        Err(what) => {
            let allowed = LogFilter::ALLOWED;
            plain(StatusCode::BAD_REQUEST, format!("no filter: {what}; allowed is {allowed}\n"))
        }
    }
}
