//! What to ask the API server next, and when: list, then watch from there, and list again when that version is no longer
//! known. Pure: it is told what came of each request.
//!
//! | asking for | what comes of it            | next                                    |
//! |------------|-----------------------------|-----------------------------------------|
//! | a list     | listed                      | a watch from its version                |
//! | a watch    | an event or a bookmark      | the same watch, which is from there now |
//! | a watch    | it ends                     | a watch from the last version           |
//! | a watch    | it ends and said nothing    | a list: a server whose store was set back is silent about versions that it has yet to reach |
//! | a watch    | its versions go backwards, or it falls silent and does not end | a list, after a wait |
//! | either     | the version is expired      | a list, after a wait                    |
//! | either     | it fails                    | the same after a wait, a list after a few times |

use std::time::Duration;

use super::super::backoff::{Backoff, Pace};

/// The first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// No wait is longer: so late is the end of an outage noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// A watch that ends earlier is no success: a server that is about to stop ends them all at once, again and again.
const SHORT: Duration = Duration::from_secs(1);

/// After so many watches that failed in a row, the fault may be in the version that they start from.
const FAILED_WATCHES: u32 = 3;

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// For everything.
    List,
    /// For changes since a version.
    Watch(String),
}

/// How far we are.
#[derive(Debug)]
pub struct Following {
    ask: Ask,
    has_heard: bool,
    failed_watches: u32,
    backoff: Backoff,
}

impl Following {
    /// Nothing is known.
    pub fn new(random: fastrand::Rng) -> Following {
        let backoff = Backoff::new(Pace::doubling(FIRST_WAIT, LONGEST_WAIT), random);
        Following { ask: Ask::List, has_heard: false, failed_watches: 0, backoff }
    }

    /// What to ask now.
    pub fn ask(&self) -> Ask {
        self.ask.clone()
    }

    /// The list is complete. Says nothing about whether it can be watched from there, so that waits stay long until then.
    pub fn listed(&mut self, version: String) {
        self.ask = Ask::Watch(version);
        (self.has_heard, self.failed_watches) = (false, 0);
    }

    /// The watch said something, an event or a bookmark. Returns whether to go on: versions that go backwards are those
    /// of a store that was set back, and what became of the others is not known.
    #[must_use]
    pub fn heard(&mut self, version: String) -> bool {
        if matches!(&self.ask, Ask::Watch(known) if is_before(&version, known)) {
            return false;
        }
        self.ask = Ask::Watch(version);
        (self.has_heard, self.failed_watches) = (true, 0);
        self.backoff.reset();
        true
    }

    /// The watch ended without a word of failure. Returns how long to wait.
    pub fn ended(&mut self, lasted: Duration) -> Duration {
        let has_heard = std::mem::take(&mut self.has_heard);
        if lasted < SHORT {
            return self.backoff.wait();
        }
        if !has_heard {
            self.ask = Ask::List;
        }
        Duration::ZERO
    }

    /// The version, or a page of the list, is no longer known or cannot be relied on. Returns how long to wait: others have to list again at the
    /// same time.
    pub fn expired(&mut self) -> Duration {
        (self.ask, self.has_heard) = (Ask::List, false);
        self.backoff.wait()
    }

    /// It failed in any other way. Returns how long to wait.
    pub fn failed(&mut self) -> Duration {
        self.has_heard = false;
        self.failed_watches += 1;
        if self.failed_watches >= FAILED_WATCHES {
            self.ask = Ask::List;
        }
        self.backoff.wait()
    }
}

/// Whether one version is known to be before another. They are numbers on every server there is; of others nothing is said.
fn is_before(version: &str, other: &str) -> bool {
    matches!((version.parse::<u128>(), other.parse::<u128>()), (Ok(version), Ok(other)) if version < other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(25);

    fn listed() -> Following {
        let mut following = Following::new(fastrand::Rng::with_seed(3));
        assert_eq!(following.ask(), Ask::List);
        following.listed("10".to_owned());
        following
    }

    fn watch(version: &str) -> Ask {
        Ask::Watch(version.to_owned())
    }

    #[test]
    fn a_watch_goes_on_from_what_was_heard_last() {
        let mut following = listed();
        assert_eq!(following.ask(), watch("10"));
        assert!(following.heard("12".to_owned()));
        assert_eq!(following.ended(LONG), Duration::ZERO);
        assert_eq!(following.ask(), watch("12"));
    }

    #[test]
    fn versions_that_go_backwards_are_of_another_store() {
        let mut following = listed();
        assert!(following.heard("10".to_owned()), "a bookmark where nothing happened");
        assert!(!following.heard("9".to_owned()));
        assert!(following.heard("opaque".to_owned()), "nothing is known about it");
    }

    #[test]
    fn a_version_that_expired_leads_to_a_list_but_not_at_once() {
        let mut following = listed();
        assert!(following.expired() > Duration::ZERO);
        assert_eq!(following.ask(), Ask::List);
    }

    #[test]
    fn a_server_that_expires_every_version_is_asked_less_and_less() {
        let mut following = listed();
        let waits: Vec<Duration> = (0..8)
            .map(|_| {
                let wait = following.expired();
                following.listed("10".to_owned());
                wait
            })
            .collect();
        assert!(waits[7] > Duration::from_secs(7), "{waits:?}");
    }

    #[test]
    fn a_failure_keeps_the_version_until_it_is_suspected_itself() {
        let mut following = listed();
        following.failed();
        following.failed();
        assert_eq!(following.ask(), watch("10"));
        following.failed();
        assert_eq!(following.ask(), Ask::List);
    }

    #[test]
    fn a_watch_that_was_silent_to_its_end_is_not_believed() {
        let mut following = listed();
        assert!(following.heard("12".to_owned()));
        following.ended(LONG);
        assert_eq!(following.ended(LONG), Duration::ZERO);
        assert_eq!(following.ask(), Ask::List);
    }

    #[test]
    fn watches_that_end_at_once_are_started_less_and_less_often() {
        let mut following = listed();
        let waits: Vec<Duration> = (0..8).map(|_| following.ended(Duration::ZERO)).collect();
        assert!(waits[0] > Duration::ZERO && waits[7] > Duration::from_secs(7), "{waits:?}");
        assert_eq!(following.ask(), watch("10"));
        assert!(following.heard("11".to_owned()));
        assert!(following.failed() <= FIRST_WAIT, "it spoke, so this is another failure");
    }
}
