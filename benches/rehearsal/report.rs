//! What a ledger shows around events, over all their repetitions: a 99th percentile of the calls of one time alone would
//! say little. Even so a burst of arrivals doubles it for some spans, so that it is compared with what the same arrivals
//! take while nothing happens.

use std::time::Duration;

use crate::load::{Ended, Ledger};

/// Calls are looked at in such spans.
const BUCKET: Duration = Duration::from_millis(100);
/// Spans that are shown, from the event on.
const SHOWN: u32 = 20;
/// The time in front of an event that tells what is usual, at most.
pub const BEFORE: Duration = Duration::from_millis(800);
/// From the event on until what was slow because of it is to be over; the spans after that are compared as one, as of one
/// span alone the percentile differs by a half by chance.
pub const BACK: Duration = Duration::from_millis(500);
/// So often the events are drawn anew to tell how far the comparison is chance.
const DRAWN: usize = 200;

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
    /// The 99th percentile of each span from the beginning of the events on.
    pub buckets: Vec<f64>,
    /// The same of the calls that came at these times while nothing happened.
    pub quiet: Vec<f64>,
    /// The calls after [`BACK`] by the same calls while nothing happened.
    pub later: Option<Compared>,
    /// Calls that took more than a second.
    pub slow: usize,
    /// Seconds until everything was as before: the median and the longest.
    pub whole: (f64, f64),
}

impl Report {
    /// What `ledger` shows, and `control`, which is of the same arrivals without the events, where there is one.
    pub fn of(ledger: &Ledger, control: Option<&Ledger>, events: &[Event]) -> Report {
        let pooled = |ledger: &Ledger, from: &dyn Fn(&Event) -> Duration, to: &dyn Fn(&Event) -> Duration| {
            let of = |event: &Event| span(&ledger.ended, event, from(event), to(event));
            p99(events.iter().flat_map(of).collect())
        };
        let spans = |ledger: &Ledger| -> Vec<f64> {
            let from = |number: u32| move |event: &Event| event.began + BUCKET * number;
            (0..SHOWN).map(|number| pooled(ledger, &from(number), &from(number + 1))).collect()
        };
        Report {
            before: pooled(ledger, &|event| event.began.saturating_sub(BEFORE), &|event| event.began),
            during: pooled(ledger, &|event| event.began, &|event| event.over),
            after: pooled(ledger, &|event| event.over, &|event| event.over + BEFORE),
            buckets: spans(ledger),
            quiet: control.map(spans).unwrap_or_default(),
            later: control.map(|control| Compared::of(ledger, control, events)),
            whole: whole(events),
            slow: ledger.ended.iter().filter(|ended| ended.took > Duration::from_secs(1)).count(),
        }
    }
}

/// A 99th percentile by another.
pub struct Compared {
    pub ratio: f64,
    /// In 95 of 100 draws of the events it is between these.
    pub low: f64,
    pub high: f64,
}

impl Compared {
    fn of(ledger: &Ledger, control: &Ledger, events: &[Event]) -> Compared {
        let later = |ledger: &Ledger, event: &Event| {
            span(&ledger.ended, event, event.began + BACK, event.began + BUCKET * SHOWN)
        };
        let each: Vec<_> = events.iter().map(|event| (later(ledger, event), later(control, event))).collect();
        let ratio = |drawn: &[usize]| {
            let [ours, quiet] = [0, 1].map(|side| {
                let of = |event: &usize| if side == 0 { &each[*event].0 } else { &each[*event].1 };
                p99(drawn.iter().flat_map(of).copied().collect())
            });
            ours / quiet
        };
        let mut random = fastrand::Rng::with_seed(11);
        let mut draw = || ratio(&(0..each.len()).map(|_| random.usize(..each.len())).collect::<Vec<_>>());
        let mut drawn: Vec<f64> = (0..DRAWN).map(|_| draw()).collect();
        drawn.sort_by(f64::total_cmp);
        let [low, high] = [0.025, 0.975].map(|part| drawn[(DRAWN as f64 * part) as usize]);
        Compared { ratio: ratio(&(0..each.len()).collect::<Vec<_>>()), low, high }
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
