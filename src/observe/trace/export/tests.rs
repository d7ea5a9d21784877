//! The queue in front of exporters that do what a test says, with the clock standing still.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use tokio::time::Instant;

use super::*;
use crate::infer::{Forms, Notes, Timeline, Trace, TraceContext};
use crate::observe::trace::spans::{Kept, OfCall, Status};

/// Takes messages and answers well or badly, or with `None` never.
#[derive(Debug, Clone)]
struct Scripted {
    answer: Option<bool>,
    messages: Arc<AtomicUsize>,
}

impl Scripted {
    fn of(answer: Option<bool>) -> Scripted {
        Scripted { answer, messages: Arc::default() }
    }
}

impl Export for Scripted {
    async fn export(&self, _message: Bytes) -> Sent {
        self.messages.fetch_add(1, Relaxed);
        let taken = match &self.answer {
            Some(true) => Ok(Taken::default()),
            Some(false) => Err("no".to_owned()),
            None => std::future::pending().await,
        };
        Sent { retries: 0, taken }
    }
}

fn ended() -> Ended {
    let now = std::time::Instant::now();
    let context = TraceContext { trace_id: 1, span_id: 1, sampled: true };
    let (forms, notes) = (Forms::default(), Some(Notes::begin(None)));
    let trace = Arc::new(Trace { context, state: None, baggage: None, forms, notes });
    let timeline = Timeline::start(now);
    Ended::Call(OfCall { trace, timeline, method: "a/B", at: now, status: Status::OK, kept: Kept::Sampled })
}

fn told(queue: &Queue) -> (u64, u64, [u64; 3]) {
    let counts = queue.counts();
    (counts.kept(), counts.exported(), Dropped::ALL.map(|why| counts.dropped(why)))
}

#[tokio::test(start_paused = true)]
async fn calls_go_out_together_after_a_moment() {
    let exporter = Scripted::of(Some(true));
    let queue = Queue::start(exporter.clone(), Vec::new(), 1000);
    (0..10).for_each(|_| _ = queue.put(ended()));
    tokio::time::sleep(GATHER + Duration::from_millis(1)).await;
    assert_eq!((exporter.messages.load(Relaxed), told(&queue)), (1, (10, 10, [0; 3])));
    (0..MOST + 1).for_each(|_| _ = queue.put(ended()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(exporter.messages.load(Relaxed), 2, "a full message waits for nothing");
    queue.flush(Duration::from_secs(1)).await;
    let kept = 10 + MOST as u64 + 1;
    assert_eq!((exporter.messages.load(Relaxed), told(&queue)), (3, (kept, kept, [0; 3])));
}

#[tokio::test(start_paused = true)]
async fn what_a_collector_refuses_is_dropped_and_the_next_is_tried() {
    let exporter = Scripted::of(Some(false));
    let queue = Queue::start(exporter.clone(), Vec::new(), 1000);
    (0..2 * MOST).for_each(|_| _ = queue.put(ended()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((exporter.messages.load(Relaxed), told(&queue)), (2, (256, 0, [0, 256, 0])));
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_never_answers_holds_nobody_up_and_all_are_counted_in_the_end() {
    let queue = Queue::start(Scripted::of(None), Vec::new(), 50);
    (0..MOST.min(50)).for_each(|_| _ = queue.put(ended()));
    tokio::time::sleep(GATHER + Duration::from_millis(1)).await;
    (0..70).for_each(|_| _ = queue.put(ended()));
    assert_eq!(told(&queue), (120, 0, [20, 0, 0]), "fifty are under way, fifty wait");
    let began = Instant::now();
    queue.flush(Duration::from_secs(2)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert_eq!(told(&queue), (120, 0, [20, 0, 100]));
    queue.put(ended());
    assert_eq!(told(&queue), (121, 0, [20, 0, 101]), "after the end nothing is kept");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_dropped_still_sends_what_waits() {
    let exporter = Scripted::of(Some(true));
    let queue = Queue::start(exporter.clone(), Vec::new(), 100);
    (0..5).for_each(|_| _ = queue.put(ended()));
    let counts = queue.counts().clone();
    drop(queue);
    tokio::time::sleep(GATHER * 2).await;
    assert_eq!((counts.kept(), counts.exported()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn calls_that_come_while_others_wait_do_not_wake_the_task_until_a_message_is_full() {
    let exporter = Scripted::of(Some(true));
    let queue = Queue::start(exporter.clone(), Vec::new(), 1000);
    for _ in 0..MOST - 1 {
        queue.put(ended());
        tokio::task::yield_now().await;
    }
    assert_eq!(exporter.messages.load(Relaxed), 0);
    queue.put(ended());
    (0..9).for_each(|_| _ = queue.put(ended()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((exporter.messages.load(Relaxed), queue.counts().exported()), (1, MOST as u64));
    tokio::time::sleep(GATHER).await;
    assert_eq!((exporter.messages.load(Relaxed), queue.counts().exported()), (2, MOST as u64 + 9));
}
