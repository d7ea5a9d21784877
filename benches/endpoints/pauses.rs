//! How long the data path is held up: by a thread that picks endpoints all the time, and by a task that is always ready to
//! run where the roster does.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use infergate::balance::Roster;
use tokio::task::JoinHandle;

use crate::fleet::{Fleet, target};

/// The longest of some times, in nanoseconds, and how many there were.
#[derive(Default)]
struct Longest {
    nanos: AtomicU64,
    count: AtomicU64,
}

impl Longest {
    fn note(&self, time: Duration) {
        self.nanos.fetch_max(time.as_nanos() as u64, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    fn take(&self) -> Taken {
        Taken { longest: Duration::from_nanos(self.nanos.swap(0, Relaxed)), of: self.count.swap(0, Relaxed) }
    }
}

/// What was noted since the last look.
pub struct Taken {
    longest: Duration,
    of: u64,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ms (of {})", self.longest.as_secs_f64() * 1e3, self.of)
    }
}

/// A thread of the system that picks an endpoint some thousand times a second.
pub struct Picks {
    longest: Arc<Longest>,
    ended: Arc<AtomicBool>,
}

impl Picks {
    pub fn start(roster: Roster) -> Picks {
        let picks = Picks { longest: Arc::default(), ended: Arc::default() };
        let (longest, ended) = (picks.longest.clone(), picks.ended.clone());
        std::thread::spawn(move || {
            let target = target(0);
            let mut random = fastrand::Rng::with_seed(1);
            while !ended.load(Relaxed) {
                let began = Instant::now();
                let pool = roster.resolve(&target).expect("it is served");
                let members = pool.members();
                let picked = pool.tactics().picker.pick(&members.near, &members.far, |_| false, 1, began, &mut random);
                assert!(picked.is_some(), "somebody admits");
                longest.note(began.elapsed());
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        picks
    }

    pub fn taken(&self) -> Taken {
        self.longest.take()
    }
}

impl Drop for Picks {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
    }
}

/// A task on the roster's thread that always wants its next turn: what keeps it from that keeps calls from theirs.
pub struct Turns {
    longest: Arc<Longest>,
    task: JoinHandle<()>,
}

impl Turns {
    pub fn start(fleet: &Fleet) -> Turns {
        let longest = Arc::new(Longest::default());
        let noted = longest.clone();
        let task = fleet.handle().spawn(async move {
            let mut last = Instant::now();
            loop {
                tokio::task::yield_now().await;
                let now = Instant::now();
                noted.note(now - last);
                last = now;
            }
        });
        Turns { longest, task }
    }

    pub fn taken(&self) -> Taken {
        self.longest.take()
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.task.abort();
    }
}
