//! An open loop: calls at their times, whatever became of those before, as from callers who know nothing of one another.
//! Each counts from when it was due, so that a server which stands still is seen by all who come meanwhile. It never
//! waits to send: a call that finds too many outstanding is counted, and not made.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;

use super::{Call, Run, stopped};
use crate::cli::bench::arrivals::Arrivals;

/// Calls that may be due at once.
const DUE: usize = 1 << 14;

/// Makes calls at their times until the run is over, and waits for their answers.
pub async fn run(run: &Arc<Run>, arrivals: Arrivals, most: usize, call: impl Call) {
    let (sender, due) = mpsc::channel(DUE);
    let pacer = Pacer::start(run.clone(), arrivals, sender);
    let mut outstanding = dispatched(run, due, most, call).await;
    drop(pacer);
    while outstanding.join_next().await.is_some() {}
}

/// Makes each call once it is due, until no more come; returns those that are outstanding then.
async fn dispatched(run: &Arc<Run>, mut due: mpsc::Receiver<Instant>, most: usize, call: impl Call) -> JoinSet<()> {
    let (mut outstanding, mut stop, mut number) = (JoinSet::new(), run.stop.clone(), 0);
    loop {
        let since = tokio::select! {
            biased;
            () = stopped(&mut stop) => return outstanding,
            Some(_) = outstanding.join_next() => continue,
            since = due.recv() => match since {
                Some(since) => since,
                None => return outstanding,
            },
        };
        if outstanding.len() >= most {
            run.tally().not_sent += 1;
            continue;
        }
        run.tally().send_late(since.elapsed());
        let (run, call) = (run.clone(), call.clone());
        outstanding.spawn(async move { _ = run.call(number, since, &call).await });
        number += 1;
    }
}

/// A thread that says when each call is due. The timers of the asynchronous runtime are as coarse as a millisecond,
/// which is more than many a call takes. Dropping it ends the thread.
struct Pacer {
    /// Held, and never used: the thread ends when it is dropped.
    _stay: SyncSender<()>,
}

impl Pacer {
    fn start(run: Arc<Run>, arrivals: Arrivals, due: mpsc::Sender<Instant>) -> Pacer {
        let (stay, leave) = sync_channel(0);
        std::thread::spawn(move || {
            for arrival in arrivals {
                let since = run.started() + arrival;
                if !run.takes(since) {
                    return;
                }
                // Whatever is due already is sent at once.
                let wait = since.saturating_duration_since(Instant::now());
                if wait > Duration::ZERO && leave.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                match due.try_send(since) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => run.tally().not_sent += 1,
                    Err(TrySendError::Closed(_)) => return,
                }
            }
        });
        Pacer { _stay: stay }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::cli::bench::load::Length;
    use crate::cli::bench::tally::End;

    #[derive(Clone)]
    struct AtOnce;

    impl Call for AtOnce {
        async fn call(&self, _: u64) -> End {
            End::Answered
        }
    }

    #[tokio::test]
    async fn a_call_counts_from_when_it_was_due_however_late_it_is_sent() {
        let (_stop, stop) = watch::channel(false);
        let run = Run::start(Length { time: None, calls: None }, Some(Duration::from_secs(1)), stop);
        let (sender, due) = mpsc::channel(1);
        let minute = Duration::from_secs(60);
        sender.try_send(Instant::now().checked_sub(minute).unwrap()).unwrap();
        drop(sender);
        dispatched(&run, due, 1, AtOnce).await.join_all().await;
        let tally = run.tally();
        assert!(tally.latency.min() >= minute.as_nanos() as u64 * 99 / 100, "{:?}", tally.latency.min());
        assert!(tally.lateness.min() >= minute.as_nanos() as u64 * 99 / 100, "{:?}", tally.lateness.min());
        assert_eq!((tally.answered(), tally.in_time), (1, 0));
    }
}
