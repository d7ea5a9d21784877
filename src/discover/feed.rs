//! From the sources to those who want to know: each source tells its part through a feed, one task puts the parts
//! together and hands on the set.

use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tracing::{debug, info};

use super::life::Lives;
use super::settling::Settling;
use super::union::Union;
use super::{Backends, Change};

/// How many parts may wait to be put together. A source that is faster waits.
const WAITING_PARTS: usize = 16;

/// The time as timers see it, which tests can hold.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Through which one source tells what it knows.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    source: usize,
    lives: Lives,
    parts: mpsc::Sender<(usize, Backends)>,
}

impl Feed {
    /// All backends that the source knows.
    pub async fn tell(&self, part: Backends) {
        // Nobody listens only while everything ends.
        let _ = self.parts.send((self.source, part)).await;
    }

    /// The source gave a sign of life.
    pub fn seen(&self) {
        self.lives.seen(self.source, now());
    }

    /// So many entries of its last answer could not be used.
    pub fn skipped(&self, entries: usize) {
        self.lives.skipped(self.source, entries as u64);
    }
}

/// A feed for each source, what comes of them, and the loop that puts it together, which ends with the last feed.
pub(super) fn join(
    lives: &Lives,
    sources: usize,
    remembered: Backends,
) -> (Vec<Feed>, watch::Receiver<Backends>, impl Future<Output = ()> + use<>) {
    let (parts, told) = mpsc::channel(WAITING_PARTS);
    let feed = |source| Feed { source, lives: lives.clone(), parts: parts.clone() };
    let feeds = (0..sources).map(feed).collect();
    let (known, backends) = watch::channel(remembered.clone());
    (feeds, backends, put_together(told, Union::new(sources, remembered.clone()), Settling::new(remembered), known))
}

async fn put_together(
    mut told: mpsc::Receiver<(usize, Backends)>,
    mut union: Union,
    mut settling: Settling,
    known: watch::Sender<Backends>,
) {
    loop {
        let due = settling.due();
        tokio::select! {
            part = told.recv() => {
                let Some((source, part)) = part else { return };
                settling.told(union.told(source, part), now());
            }
            () = async { sleep_until(due.unwrap_or_else(now).into()).await }, if due.is_some() => {}
        }
        if let Some(set) = settling.take(now()) {
            log(&set, &known.borrow());
            known.send_replace(set);
        }
    }
}

/// One line for the change, and one for each backend for those who look closer.
fn log(set: &Backends, old: &Backends) {
    let changes = set.changes_since(old);
    let count = |is: fn(&Change) -> bool| changes.iter().filter(|change| is(change)).count();
    let (added, changed) = (count(|c| matches!(c, Change::Added(_))), count(|c| matches!(c, Change::Changed(_))));
    info!(backends = set.len(), added, changed, removed = changes.len() - added - changed, "backends changed");
    for change in &changes {
        debug!(?change, "backend");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Backend;
    use super::*;

    fn set(ports: &[u16]) -> Backends {
        ports.iter().map(|port| Backend::at(([10, 0, 0, 1], *port).into())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_sources_tell_is_handed_on_as_one_set() {
        let lives = Lives::new(["a", "b"].map(|name| (name.to_owned(), true)), now());
        let (feeds, mut backends, joined) = join(&lives, 2, Backends::default());
        let task = tokio::spawn(joined);
        feeds[0].tell(set(&[1])).await;
        backends.changed().await.unwrap();
        assert_eq!(*backends.borrow_and_update(), set(&[1]), "the first at once");
        let told = now();
        feeds[1].tell(set(&[2])).await;
        feeds[0].tell(set(&[1, 3])).await;
        backends.changed().await.unwrap();
        assert_eq!(*backends.borrow_and_update(), set(&[1, 2, 3]), "additions together");
        assert!(now() - told >= Duration::from_millis(50));
        drop(feeds);
        task.await.unwrap();
    }
}
