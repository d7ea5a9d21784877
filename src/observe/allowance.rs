//! So many a second and no more, of what anybody could cause any number of.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What may still happen. What was not taken for a while is there at once, up to that of a second.
#[derive(Debug)]
pub struct Allowance {
    a_second: f64,
    /// What is left, and when that was.
    state: Mutex<(f64, Instant)>,
}

impl Allowance {
    /// So many a second.
    pub fn new(a_second: u32, now: Instant) -> Allowance {
        let a_second = f64::from(a_second);
        Allowance { a_second, state: Mutex::new((a_second, now)) }
    }

    /// Takes one, where there is one.
    pub fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock().expect("nothing panics while an allowance is counted");
        let (left, since) = *state;
        let grown = now.saturating_duration_since(since).min(Duration::from_secs(1)).as_secs_f64() * self.a_second;
        let left = (left + grown).min(self.a_second);
        let is_there = left >= 1.0;
        *state = (if is_there { left - 1.0 } else { left }, now.max(since));
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_are_there_and_no_more() {
        let start = Instant::now();
        let allowance = Allowance::new(100, start);
        let taken = |now: Instant| (0..500).filter(|_| allowance.take(now)).count();
        assert_eq!(taken(start), 100);
        assert_eq!(taken(start + Duration::from_millis(500)), 50);
        assert_eq!(taken(start + Duration::from_secs(60)), 100);
        assert_eq!(taken(start), 0, "time that goes back gives nothing");
    }
}
