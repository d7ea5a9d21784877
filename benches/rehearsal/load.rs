//! Calls that come at random, whatever became of those before, and the ledger with the end of each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;

use crate::client::Client;

/// Calls that may be outstanding. More of them is a failure of the rehearsal.
const MOST: usize = 4096;

/// A call that has ended. Times are since the load began; a call counts from when it was due.
#[derive(Clone, Copy)]
pub struct Ended {
    pub due: Duration,
    pub took: Duration,
}

/// What became of the calls.
#[derive(Default)]
pub struct Ledger {
    pub ended: Vec<Ended>,
    /// Calls that went wrong, by how, with the time of the first.
    pub wrong: BTreeMap<String, (usize, Duration)>,
    /// How often each call has ended, by its number.
    ends: Vec<u8>,
}

impl Ledger {
    fn end(&mut self, number: u64, ended: Ended, answer: Result<(), String>) {
        let number = number as usize;
        self.ends.resize(self.ends.len().max(number + 1), 0);
        self.ends[number] += 1;
        self.ended.push(ended);
        if let Err(why) = answer {
            self.wrong.entry(why).or_insert((0, ended.due)).0 += 1;
        }
    }

    pub fn failed(&self) -> usize {
        self.wrong.values().map(|(count, _)| count).sum()
    }

    /// Calls that did not end exactly once.
    pub fn unbalanced(&self, sent: u64) -> usize {
        let missing = (sent as usize).saturating_sub(self.ends.len());
        missing + self.ends.iter().filter(|ends| **ends != 1).count()
    }
}

/// A load that is on.
pub struct Load {
    began: Instant,
    over: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
    sending: JoinHandle<u64>,
}

impl Load {
    /// Makes so many calls a second from now on.
    pub fn start(client: Arc<Client>, rate: f64) -> Load {
        let (began, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let sending = tokio::spawn(send(client, rate, began, over.clone(), ledger.clone()));
        Load { began, over, ledger, sending }
    }

    /// How long it has been on.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends it, once every call has ended. The ledger and how many calls there were.
    pub async fn end(self) -> (Ledger, u64) {
        self.over.store(true, Relaxed);
        let sent = self.sending.await.expect("the load ends");
        let ledger = std::mem::take(&mut *self.ledger.lock().expect("nothing panics with it"));
        (ledger, sent)
    }
}

async fn send(
    client: Arc<Client>,
    rate: f64,
    began: Instant,
    over: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
) -> u64 {
    let mut random = fastrand::Rng::with_seed(7);
    let (room, mut calls) = (Arc::new(Semaphore::new(MOST)), JoinSet::new());
    let (mut at, mut number) = (Duration::ZERO, 0);
    while !over.load(Relaxed) {
        at += Duration::from_secs_f64(-random.f64().max(f64::MIN_POSITIVE).ln() / rate);
        sleep_until((began + at).into()).await;
        let place = room.clone().try_acquire_owned();
        let (client, ledger, due) = (client.clone(), ledger.clone(), at);
        calls.spawn(async move {
            let answer = match place {
                Ok(_place) => client.call(number).await,
                Err(_) => Err(format!("{MOST} calls are outstanding")),
            };
            let ended = Ended { due, took: began.elapsed().saturating_sub(due) };
            ledger.lock().expect("nothing panics with it").end(number, ended, answer);
        });
        number += 1;
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
    number
}

/// Answers in a second with so many callers of which each waits for its answer.
pub async fn peak(client: &Arc<Client>, callers: usize, time: Duration) -> f64 {
    let (until, done) = (Instant::now() + time, Arc::new(AtomicU64::new(0)));
    let mut calling = JoinSet::new();
    for _ in 0..callers {
        let (client, done) = (client.clone(), done.clone());
        calling.spawn(async move {
            while Instant::now() < until {
                client.call(0).await.expect("an answer while nothing is wrong");
                done.fetch_add(1, Relaxed);
            }
        });
    }
    while let Some(ended) = calling.join_next().await {
        ended.expect("callers do not panic");
    }
    done.load(Relaxed) as f64 / time.as_secs_f64()
}
