//! The delay that tunes itself: calls wait for company as long as that makes runs cheaper and 99 of 100 are through
//! within the time that was promised.

use std::time::{Duration, Instant};

/// Calls after which the delay is looked at again.
const CALLS: usize = 128;
/// The delay grows by this part of the promised time, and never beyond half of it.
const STEP: u32 = 32;
/// A delay shorter than this is none: timers are no finer.
const SHORTEST: Duration = Duration::from_micros(200);

/// Tunes the delay of one model.
#[derive(Debug)]
pub(super) struct Tuner {
    slo: Duration,
    most: Duration,
    delay: Duration,
    times: Vec<Duration>,
    since: Option<Instant>,
    rows: usize,
    runs: usize,
}

impl Tuner {
    /// A tuner for `slo`, whose delay is at most `most` where that is not zero.
    pub(super) fn new(slo: Duration, most: Duration) -> Tuner {
        let half = slo / 2;
        let most = if most.is_zero() { half } else { most.min(half) };
        let times = Vec::with_capacity(CALLS);
        Tuner { slo, most, delay: Duration::ZERO, times, since: None, rows: 0, runs: 0 }
    }

    /// The delay now.
    pub(super) fn delay(&self) -> Duration {
        self.delay
    }

    /// A run of so many rows is over at `now`, for calls that came at `arrived`. `cheaper` tells which part of the time
    /// by row so many more rows in a run would save.
    pub(super) fn ran(
        &mut self,
        rows: usize,
        arrived: impl Iterator<Item = Instant>,
        now: Instant,
        cheaper: impl Fn(f64) -> f64,
    ) {
        self.rows += rows;
        self.runs += 1;
        self.times.extend(arrived.map(|arrived| now.saturating_duration_since(arrived)));
        let since = *self.since.get_or_insert(now);
        if self.times.len() < CALLS {
            return;
        }
        self.times.sort_unstable();
        let p99 = self.times[self.times.len() * 99 / 100];
        let seconds = now.saturating_duration_since(since).as_secs_f64().max(1e-6);
        // What would come during one step more.
        let company = self.rows as f64 / seconds * (self.slo / STEP).as_secs_f64();
        self.delay = self.next(p99, company >= 1.0 && cheaper(company) > 0.05);
        (self.since, self.rows, self.runs) = (Some(now), 0, 0);
        self.times.clear();
    }

    fn next(&self, p99: Duration, pays: bool) -> Duration {
        let delay = match p99 {
            p99 if p99 > self.slo => self.delay / 2,
            p99 if p99 + self.slo / STEP * 2 > self.slo => self.delay * 15 / 16,
            _ if pays => self.delay + self.slo / STEP,
            _ => self.delay * 3 / 4,
        };
        let delay = delay.min(self.most);
        if delay < SHORTEST { Duration::ZERO } else { delay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Runs of `rows` rows a millisecond apart whose calls took the delay and `own`, until the delay settles.
    fn settled(own: Duration, rows: usize, saves: f64) -> Duration {
        let (start, mut tuner) = (Instant::now(), Tuner::new(MS(20), Duration::ZERO));
        for run in 0..20_000u64 {
            let now = start + MS(100 + run);
            let took = own + tuner.delay();
            tuner.ran(rows, (0..rows).map(|_| now - took), now, |_| saves);
        }
        tuner.delay()
    }

    #[test]
    fn it_grows_where_company_pays_and_there_is_time() {
        assert_eq!(settled(MS(2), 4, 0.5), MS(10));
    }

    #[test]
    fn it_stays_within_the_promised_time() {
        let delay = settled(MS(14), 4, 0.5);
        assert!(delay > MS(2) && delay <= MS(6), "{delay:?}");
        assert_eq!(settled(MS(25), 4, 0.5), Duration::ZERO);
    }

    #[test]
    fn it_is_none_where_nobody_comes_or_company_saves_nothing() {
        assert_eq!(settled(MS(2), 4, 0.01), Duration::ZERO);
        let (start, mut tuner) = (Instant::now(), Tuner::new(MS(20), Duration::ZERO));
        for run in 0..1000u64 {
            let now = start + Duration::from_secs(run);
            tuner.ran(1, [now - MS(1)].into_iter(), now, |_| 0.9);
        }
        assert_eq!(tuner.delay(), Duration::ZERO);
    }

    #[test]
    fn a_bound_of_its_own_is_kept() {
        let mut tuner = Tuner::new(MS(20), MS(3));
        tuner.delay = MS(3);
        assert_eq!(tuner.next(MS(1), true), MS(3));
    }
}
