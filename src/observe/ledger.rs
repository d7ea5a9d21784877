//! Every accepted call ends exactly once, and is counted as what it ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use crate::error::{Error, Kind};

/// Counts of calls by their end.
#[derive(Debug, Default)]
pub struct Ledger {
    accepted: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    expired: AtomicU64,
    abandoned: AtomicU64,
}

/// A reading of the ledger. Once no call is in flight, the five ends add up to `accepted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Calls that came in.
    pub accepted: u64,
    /// Those that got their answer.
    pub answered: u64,
    /// Those that ran, or should have, and failed by our doing or a backend's.
    pub failed: u64,
    /// Those that were turned away without running: wrong, unknown, forbidden, or one too many.
    pub refused: u64,
    /// Those whose deadline passed.
    pub expired: u64,
    /// Those whose caller left.
    pub abandoned: u64,
}

impl Ledger {
    /// Takes a call in. Unless it is ended otherwise, it counts as abandoned when the entry is dropped.
    pub fn accept(self: &Arc<Self>) -> Entry {
        self.accepted.fetch_add(1, Relaxed);
        Entry { ledger: self.clone(), ended: false }
    }

    /// The counts now.
    pub fn totals(&self) -> Totals {
        Totals {
            accepted: self.accepted.load(Relaxed),
            answered: self.answered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            refused: self.refused.load(Relaxed),
            expired: self.expired.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
        }
    }

    /// The same as metrics.
    pub fn metrics(self: &Arc<Self>) -> impl Collector + use<> {
        Telling(self.clone())
    }

    fn counter(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Engine | Kind::NoBackend | Kind::BackendLost => &self.failed,
            Kind::Late => &self.expired,
            Kind::Cancelled => &self.abandoned,
            Kind::Invalid
            | Kind::UnknownModel
            | Kind::NotReady
            | Kind::Unloadable
            | Kind::TooLarge
            | Kind::Overloaded
            | Kind::Draining
            | Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::Unsupported => &self.refused,
        }
    }
}

impl Totals {
    /// Calls by their end, each with its name.
    fn ends(&self) -> [(&'static str, u64); 5] {
        [
            ("answered", self.answered),
            ("failed", self.failed),
            ("refused", self.refused),
            ("expired", self.expired),
            ("abandoned", self.abandoned),
        ]
    }
}

/// Tells the ledger as metrics.
#[derive(Debug)]
struct Telling(Arc<Ledger>);

impl Collector for Telling {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let none: Option<&Exemplar<[(String, String); 0], f64>> = None;
        let totals = self.0.totals();
        let help = "Calls that came in";
        let mut family = encoder.encode_descriptor("inference_calls_accepted", help, None, MetricType::Counter)?;
        family.encode_counter(&totals.accepted, none)?;
        let help = "Calls by their end: once none is in flight they add up to those that came in";
        let mut family = encoder.encode_descriptor("inference_calls_ended", help, None, MetricType::Counter)?;
        for (end, count) in totals.ends() {
            family.encode_family(&[("end", end)])?.encode_counter(&count, none)?;
        }
        let ended: u64 = totals.ends().iter().map(|(_, count)| count).sum();
        let help = "Calls that have not ended";
        let mut family = encoder.encode_descriptor("inference_calls_in_flight", help, None, MetricType::Gauge)?;
        family.encode_gauge(&totals.accepted.saturating_sub(ended))
    }
}

/// A call in the ledger.
#[derive(Debug)]
pub struct Entry {
    ledger: Arc<Ledger>,
    ended: bool,
}

impl Entry {
    /// The call ended with this result.
    pub fn end<T>(mut self, result: &Result<T, Error>) {
        self.ended = true;
        let counter = match result {
            Ok(_) => &self.ledger.answered,
            Err(error) => self.ledger.counter(error.kind()),
        };
        counter.fetch_add(1, Relaxed);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.ended {
            self.ledger.abandoned.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_nobody_ended_was_abandoned_and_the_ends_add_up() {
        let ledger = Arc::new(Ledger::default());
        drop(ledger.accept());
        ledger.accept().end(&Ok(()));
        ledger.accept().end::<()>(&Err(Error::late("testing")));
        ledger.accept().end::<()>(&Err(Error::invalid("x")));
        ledger.accept().end::<()>(&Err(Error::new(Kind::Engine, "x")));
        let Totals { accepted, answered, failed, refused, expired, abandoned } = ledger.totals();
        assert_eq!([answered, failed, refused, expired, abandoned], [1; 5]);
        assert_eq!(accepted, 5);
    }
}
