//! One line in the log when a source fails, and one when it answers again; never one for each try in between.

use std::fmt::Display;
use std::time::Instant;

use tracing::{debug, info, warn};

/// Whether a source is away, for the log.
#[derive(Debug)]
pub struct Outage {
    source: String,
    since: Option<Instant>,
}

impl Outage {
    /// Of a source that is not known to be away.
    pub fn of(source: String) -> Outage {
        Outage { source, since: None }
    }

    /// It failed. Returns whether that is news.
    pub fn failed(&mut self, why: &dyn Display, now: Instant) -> bool {
        if self.since.is_some() {
            debug!(source = self.source, %why, "still no answer about backends");
            return false;
        }
        self.since = Some(now);
        warn!(source = self.source, %why, "no answer about backends, those that are known stay");
        true
    }

    /// It answered. Returns whether it was away before.
    pub fn ended(&mut self, now: Instant) -> bool {
        let Some(since) = self.since.take() else { return false };
        let seconds = now.saturating_duration_since(since).as_secs();
        info!(source = self.source, seconds, "answers about backends again");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_at_its_beginning_and_once_at_its_end() {
        let (mut outage, now) = (Outage::of("ml/workers".to_owned()), Instant::now());
        assert!(!outage.ended(now), "it never began");
        assert!(outage.failed(&"connection refused", now));
        assert!(!outage.failed(&"connection refused", now));
        assert!(outage.ended(now));
        assert!(!outage.ended(now));
        assert!(outage.failed(&"connection refused", now), "the next one is another");
    }
}
