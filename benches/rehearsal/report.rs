//! What a ledger shows around events, over all their repetitions: a 99th percentile of the calls of one time alone would
//! say little.

use std::time::Duration;

use crate::load::{Ended, Ledger};

/// Calls are looked at in such spans.
const BUCKET: Duration = Duration::from_millis(100);
/// Spans that are shown, from the event on.
const SHOWN: u32 = 20;
/// The time in front of an event that tells what is usual, at most.
pub const BEFORE: Duration = Duration::from_millis(800);
/// It is back when it is at most so many times what it was before, from then on.
const BACK: f64 = 1.1;

/// Something that was done to the cluster, from when to when.
#[derive(Clone, Copy)]
pub struct Event {
    pub began: Duration,
    pub over: Duration,
}

/// Times in milliseconds.
pub struct Report {
    pub before: f64,
    pub during: f64,
    pub after: f64,
    /// The 99th percentile of each span before the events: how far spans differ by chance.
    pub usual: Vec<f64>,
    /// That of each span from the beginning of the events on.
    pub buckets: Vec<f64>,
    /// Milliseconds after its beginning after which no span is slower than before; none where that is later.
    pub back: Option<u128>,
    /// Calls that took more than a second.
    pub slow: usize,
    /// Seconds until everything was as before: the median and the longest.
    pub whole: (f64, f64),
}

impl Report {
    pub fn of(ledger: &Ledger, events: &[Event]) -> Report {
        let pooled = |from: &dyn Fn(&Event) -> Duration, to: &dyn Fn(&Event) -> Duration| {
            let of = |event: &Event| span(&ledger.ended, event, from(event), to(event));
            p99(events.iter().flat_map(of).collect())
        };
        let before = pooled(&|event| event.began.saturating_sub(BEFORE), &|event| event.began);
        let bucket =
            |number: u32| pooled(&|event| event.began + BUCKET * number, &|event| event.began + BUCKET * (number + 1));
        let buckets: Vec<f64> = (0..SHOWN).map(bucket).collect();
        let earlier = |number: u32| {
            pooled(&|event| event.began.saturating_sub(BUCKET * number), &|event| {
                event.began.saturating_sub(BUCKET * (number - 1))
            })
        };
        let slower = buckets.iter().rposition(|p99| *p99 > before * BACK);
        let back = slower.map_or(Some(0), |last| (last + 1 < buckets.len()).then_some(last + 1));
        Report {
            before,
            during: pooled(&|event| event.began, &|event| event.over),
            after: pooled(&|event| event.over, &|event| event.over + BEFORE),
            usual: (1..=BEFORE.div_duration_f64(BUCKET) as u32).rev().map(earlier).collect(),
            buckets,
            back: back.map(|spans| spans as u128 * BUCKET.as_millis()),
            whole: whole(events),
            slow: ledger.ended.iter().filter(|ended| ended.took > Duration::from_secs(1)).count(),
        }
    }
}

/// Times in milliseconds of the calls that were due in a span. What an event found in flight counts from the event on.
fn span(ended: &[Ended], event: &Event, from: Duration, to: Duration) -> Vec<f64> {
    let counted = |ended: &&Ended| {
        let struck = ended.due < event.began && ended.due + ended.took > event.began;
        (from..to).contains(if struck { &event.began } else { &ended.due })
    };
    ended.iter().filter(counted).map(|ended| ended.took.as_secs_f64() * 1e3).collect()
}

fn whole(events: &[Event]) -> (f64, f64) {
    let mut times: Vec<f64> = events.iter().map(|event| (event.over - event.began).as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() - 1])
}

fn p99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let rank = (times.len() as f64 * 0.99).ceil() as usize;
    times.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
