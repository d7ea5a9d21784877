//! Every accepted call ends exactly once, and is counted as what it ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use crate::error::{Error, Kind, Room};

/// Counts of calls by their end.
#[derive(Debug, Default)]
pub struct Ledger {
    accepted: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    refused: Refused,
    expired: AtomicU64,
    abandoned: AtomicU64,
}

/// Calls that were refused, by why: the kind of the failure, and for want of room what there was none in.
#[derive(Debug, Default)]
struct Refused {
    kinds: [AtomicU64; Kind::ALL.len()],
    rooms: [AtomicU64; Room::ALL.len()],
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
            refused: self.refused.by_reason().map(|(_, count)| count).sum(),
            expired: self.expired.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
        }
    }

    /// The same as metrics.
    pub fn metrics(self: &Arc<Self>) -> impl Collector + use<> {
        Telling(self.clone())
    }

    fn counter(&self, error: &Error) -> &AtomicU64 {
        match error.kind() {
            Kind::Engine | Kind::NoBackend | Kind::BackendLost => &self.failed,
            Kind::Late => &self.expired,
            Kind::Cancelled => &self.abandoned,
            refused => match error.room() {
                Some(room) => &self.refused.rooms[room as usize],
                None => &self.refused.kinds[refused as usize],
            },
        }
    }
}

/// The kinds of failure with which a call is refused, but for want of room.
const REFUSALS: [Kind; 9] = [
    Kind::Invalid,
    Kind::UnknownModel,
    Kind::NotReady,
    Kind::Unloadable,
    Kind::TooLarge,
    Kind::Draining,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::Unsupported,
];

impl Refused {
    /// How many, each with its reason's name.
    fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let kinds = REFUSALS.iter().map(|kind| (kind.name(), &self.kinds[*kind as usize]));
        let rooms = Room::ALL.iter().map(|room| (room.name(), &self.rooms[*room as usize]));
        kinds.chain(rooms).map(|(name, count)| (name, count.load(Relaxed)))
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
        let help = "Calls that were refused, by why";
        let mut family = encoder.encode_descriptor("inference_calls_refused", help, None, MetricType::Counter)?;
        for (reason, count) in self.0.refused.by_reason() {
            family.encode_family(&[("reason", reason)])?.encode_counter(&count, none)?;
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
            Err(error) => self.ledger.counter(error),
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
    use std::time::Duration;

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

    #[test]
    fn a_call_of_every_kind_that_is_refused_has_its_reason_and_they_add_up() {
        let ledger = Arc::new(Ledger::default());
        let end = |error: Error| ledger.accept().end::<()>(&Err(error));
        Kind::ALL.iter().for_each(|kind| end(Error::new(*kind, "x")));
        Room::ALL.iter().for_each(|room| end(Error::overloaded(*room, "x", Duration::ZERO)));
        let reasons: Vec<_> = ledger.refused.by_reason().filter(|(_, count)| *count > 0).collect();
        assert_eq!(reasons.len(), REFUSALS.len() + Room::ALL.len(), "{reasons:?}");
        let Totals { accepted, answered, failed, refused, expired, abandoned } = ledger.totals();
        assert_eq!((refused, failed + expired + abandoned + answered), (accepted - 5, 5));
        assert_eq!(reasons.iter().find(|(name, _)| *name == "backend"), Some(&("backend", 2)));
    }
}
