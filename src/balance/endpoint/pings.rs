//! How often a backend may be pinged. Servers of the gRPC project count pings that come while they send nothing, and
//! close the connection with all its calls after a few ("too many pings"); ours do not.

use std::time::{Duration, Instant};

/// Pings between two answers that every server takes. gRPC's own let the first pass and forgive two (gRFC A8); answers
/// and pings may cross on their way.
const TAKEN: u32 = 2;
/// Pings that are further apart are never too many: five minutes (gRFC A8), and some time on the way.
const CALM: Duration = Duration::from_secs(330);

/// What was sent over a connection since its last answer.
#[derive(Debug, Default)]
pub(super) struct Pings {
    answers: u64,
    sent: u32,
    last: Option<Instant>,
}

impl Pings {
    /// Before when no other is to be sent, where so many calls were answered by now; nothing where one may be at once.
    pub(super) fn due(&self, answers: u64, takes_all: bool) -> Option<Instant> {
        let is_spent = answers == self.answers && self.sent >= TAKEN;
        self.last.filter(|_| is_spent && !takes_all).map(|last| last + CALM)
    }

    /// One was sent.
    pub(super) fn sent(&mut self, answers: u64, now: Instant) {
        if answers != self.answers {
            (self.answers, self.sent) = (answers, 0);
        }
        self.sent += 1;
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_answers_only_so_many_pings_are_sent_soon() {
        let (mut pings, now) = (Pings::default(), Instant::now());
        for _ in 0..TAKEN {
            assert_eq!(pings.due(0, false), None);
            pings.sent(0, now);
        }
        assert_eq!(pings.due(0, false), Some(now + CALM));
        pings.sent(0, now + CALM);
        assert_eq!(pings.due(0, false), Some(now + CALM + CALM));
        assert_eq!(pings.due(1, false), None, "an answer came");
        pings.sent(1, now + CALM);
        assert_eq!(pings.due(1, false), None);
    }

    #[test]
    fn who_takes_all_gets_all() {
        let (mut pings, now) = (Pings::default(), Instant::now());
        (0..100).for_each(|_| pings.sent(0, now));
        assert_eq!(pings.due(0, true), None);
        assert_eq!(pings.due(0, false), Some(now + CALM));
    }
}
