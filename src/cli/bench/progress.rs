//! What the terminal shows while calls are made: one line on standard error, and none where nobody watches it. It also
//! hears Ctrl-C, the wish for the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::load::{Run, Stop, stopped};
use super::report::ms;
use super::tally::Tally;
use crate::cli::failure::Failure;

/// How often the line is drawn anew.
const TICK: Duration = Duration::from_millis(250);

/// The line, and the wish for the end.
pub struct Progress {
    line: ProgressBar,
    stop: Stop,
}

impl Progress {
    /// Listens for Ctrl-C from now on.
    pub fn start() -> Progress {
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        line.set_style(ProgressStyle::with_template("{prefix}{msg}").expect("the template is one"));
        let (wanted, stop) = watch::channel(false);
        tokio::spawn(async move {
            // Where there is no such signal, the run has its own end.
            if tokio::signal::ctrl_c().await.is_ok() {
                wanted.send_replace(true);
            }
        });
        Progress { line, stop }
    }

    /// For whom it concerns that somebody wants the end.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Whether somebody wants the end.
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Does something that is not measured.
    ///
    /// # Errors
    /// Its own failure, or that somebody wanted the end before it was done.
    pub async fn unless_stopped<T>(&self, step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let mut stop = self.stop();
        tokio::select! {
            done = step => done,
            () = stopped(&mut stop) => Err(Failure::failed("interrupted before anything was measured")),
        }
    }

    /// What is done from now on, before the numbers.
    pub fn name(&self, name: String) {
        self.line.set_message("");
        self.line.set_prefix(name);
    }

    /// Shows how a run goes until it is over.
    pub async fn watch(&self, run: &Arc<Run>, load: impl Future<Output = ()>) {
        if self.line.is_hidden() {
            return load.await;
        }
        tokio::pin!(load);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = (run.started(), 0);
        loop {
            tokio::select! {
                () = &mut load => return,
                _ = ticks.tick() => {
                    let (now, tally) = (Instant::now(), run.tally().clone());
                    let rate = rate(before, (now, tally.answered()));
                    before = (now, tally.answered());
                    self.line.set_message(line(now - run.started(), rate, &tally));
                }
            }
        }
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.line.finish_and_clear();
    }
}

fn rate((before, answered_before): (Instant, u64), (now, answered): (Instant, u64)) -> f64 {
    let seconds = (now - before).as_secs_f64();
    if seconds > 0.0 { (answered - answered_before) as f64 / seconds } else { 0.0 }
}

fn line(elapsed: Duration, rate: f64, tally: &Tally) -> String {
    let at = |quantile| ms(tally.latency.value_at_quantile(quantile));
    let mut line = format!("{:.1} s  {rate:.0}/s  p50 {} ms  p99 {} ms", elapsed.as_secs_f64(), at(0.5), at(0.99));
    for (count, what) in [(tally.failed(), "failed"), (tally.not_sent, "not sent"), (tally.different, "different")] {
        if count > 0 {
            line.push_str(&format!("  {count} {what}"));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;
    use crate::cli::bench::tally::End;

    #[test]
    fn the_line_has_the_rate_the_times_and_what_goes_wrong() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        let ms = Duration::from_millis(1);
        tally.end(start, start + ms, End::Answered, None);
        assert_eq!(line(1500 * ms, 12.4, &tally), "1.5 s  12/s  p50 1.000 ms  p99 1.000 ms");
        tally.end(start, start + ms, End::Failed(Status::unavailable("")), None);
        assert!(line(ms, 0.0, &tally).ends_with("  1 failed"));
    }

    #[test]
    fn the_rate_is_that_since_the_last_look() {
        let start = Instant::now();
        assert_eq!(rate((start, 100), (start + Duration::from_millis(250), 200)), 400.0);
        assert_eq!(rate((start, 0), (start, 0)), 0.0);
    }
}
