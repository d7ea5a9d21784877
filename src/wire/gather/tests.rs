//! Whatever is written arrives in order and once, in as few pieces as its turns allow.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Wake, Waker};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Takes as much of each write as it is told, or nothing for now; notes each write.
#[derive(Debug, Default)]
struct Slow {
    takes: VecDeque<usize>,
    writes: Vec<usize>,
    taken: Vec<u8>,
    flushes: usize,
    broken: bool,
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let most = self.takes.pop_front().unwrap_or(usize::MAX).min(bytes.len());
        if most == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.writes.push(most);
        self.taken.extend_from_slice(&bytes[..most]);
        Poll::Ready(Ok(most))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        self.poll_write(cx, &all)
    }

    fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn what_is_written_and_flushed_in_one_turn_goes_out_in_one_piece() {
    let (mut stream, turns) = gather(Slow::default());
    let inner = stream.inner.clone();
    block_on(turns.of(async move {
        for part in [&b"one"[..], b"two", b"three"] {
            stream.write_all(part).await.unwrap();
            stream.flush().await.unwrap();
        }
        assert!(lock(&stream.inner).stream.writes.is_empty());
    }));
    let sent = &lock(&inner).stream;
    assert_eq!((&sent.writes[..], &sent.taken[..], sent.flushes), (&[11][..], &b"onetwothree"[..], 1));
}

#[test]
fn a_large_write_goes_out_with_what_was_gathered_before_it_and_is_not_kept() {
    let (mut stream, turns) = gather(Slow::default());
    let inner = stream.inner.clone();
    block_on(turns.of(async move {
        stream.write_all(b"head").await.unwrap();
        stream.write_all(&vec![7; ROOM]).await.unwrap();
        assert!(lock(&stream.inner).gathered.is_empty());
    }));
    assert_eq!(lock(&inner).stream.writes, [4 + ROOM]);
}

#[test]
fn whoever_closes_the_stream_sends_all_of_it_first() {
    let (mut stream, _turns) = gather(Slow { takes: [1, 0, 2].into(), ..Slow::default() });
    let inner = stream.inner.clone();
    block_on(async move {
        stream.write_all(b"goodbye").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    assert_eq!(lock(&inner).stream.taken, b"goodbye");
}

#[test]
fn a_stream_that_breaks_after_the_turn_fails_the_next() {
    let (mut stream, turns) = gather(Slow { broken: true, ..Slow::default() });
    let failed = block_on(turns.of(async move {
        stream.write_all(b"lost").await.unwrap();
        tokio::task::yield_now().await;
        stream.flush().await
    }));
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn whoever_does_not_look_is_woken_once_by_a_stream_that_broke() {
    let (mut stream, turns) = gather(Slow { broken: true, ..Slow::default() });
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(wakes.clone());
    let mut waiting = Box::pin(turns.of(async move {
        stream.write_all(b"lost").await.unwrap();
        std::future::pending::<()>().await;
    }));
    for _ in 0..3 {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(wakes.0.load(Relaxed), 1);
}

#[test]
fn bytes_that_come_are_read_meanwhile() {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let (mut stream, turns) = gather(ours);
    block_on(async {
        let answers = turns.of(async move {
            stream.write_all(b"question").await.unwrap();
            let mut answer = [0; 6];
            stream.read_exact(&mut answer).await.unwrap();
            answer
        });
        let asks = async move {
            let mut question = [0; 8];
            theirs.read_exact(&mut question).await.unwrap();
            theirs.write_all(b"answer").await.unwrap();
        };
        assert_eq!(tokio::join!(answers, asks).0, *b"answer");
    });
}

/// A task that wakes itself in its first so many polls, and how often it was polled.
fn restless(times: usize, polls: Arc<AtomicUsize>) -> impl Future<Output = ()> {
    std::future::poll_fn(move |cx| {
        if polls.fetch_add(1, Relaxed) < times {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
}

/// Polls a task once; how often it was polled in that turn, and how often the scheduler was told to poll it again.
fn turn_of(times: usize) -> (usize, usize) {
    let (polls, wakes) = (Arc::<AtomicUsize>::default(), Arc::<Wakes>::default());
    let (_stream, turns) = gather(Slow::default());
    let mut task = Box::pin(turns.of(restless(times, polls.clone())));
    assert!(task.as_mut().poll(&mut Context::from_waker(&wakes.clone().into())).is_pending());
    (polls.load(Relaxed), wakes.0.load(Relaxed))
}

#[test]
fn a_task_that_is_woken_in_its_turn_goes_on_at_once_and_not_by_the_scheduler() {
    assert_eq!(turn_of(0), (1, 0));
    assert_eq!(turn_of(1), (2, 0));
    assert_eq!(turn_of(ROUNDS - 1), (ROUNDS, 0));
}

#[test]
fn a_task_that_wakes_itself_without_end_lets_others_have_their_turns() {
    assert_eq!(turn_of(usize::MAX), (ROUNDS, 1));
}

#[test]
fn a_task_that_is_woken_often_after_its_turn_is_scheduled_once() {
    let (wakes, told) = (Arc::<Wakes>::default(), Arc::new(Mutex::new(None)));
    let (_stream, turns) = gather(Slow::default());
    let tells = told.clone();
    let mut task = Box::pin(turns.of(std::future::poll_fn::<(), _>(move |cx| {
        *tells.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    })));
    for turn in 1..3 {
        assert!(task.as_mut().poll(&mut Context::from_waker(&wakes.clone().into())).is_pending());
        let waker: Waker = told.lock().unwrap().take().unwrap();
        (0..3).for_each(|_| waker.wake_by_ref());
        assert_eq!(wakes.0.load(Relaxed), turn);
    }
}

#[test]
fn no_wake_of_another_thread_is_lost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let (_stream, turns) = gather(Slow::default());
        let receiving = tokio::spawn(turns.of(async move {
            let mut received = 0;
            while receiver.recv().await.is_some() {
                received += 1;
            }
            received
        }));
        for number in 0..20_000 {
            sender.send(number).await.unwrap();
        }
        drop(sender);
        assert_eq!(receiving.await.unwrap(), 20_000);
    });
}

proptest! {
    #[test]
    fn bytes_arrive_in_order_and_once_however_little_the_stream_takes(
        writes in prop::collection::vec(prop_oneof![1..400usize, 5000..40_000usize], 1..20),
        takes in prop::collection::vec(prop_oneof![Just(0usize), 1..30_000usize], 0..60),
        ends in prop::collection::vec(any::<bool>(), 20),
    ) {
        let (mut stream, turns) = gather(Slow { takes: takes.into(), ..Slow::default() });
        let inner = stream.inner.clone();
        let whole: Vec<u8> = writes.iter().enumerate().flat_map(|(at, len)| vec![at as u8; *len]).collect();
        block_on(turns.of(async move {
            for (at, len) in writes.into_iter().enumerate() {
                stream.write_all(&vec![at as u8; len]).await.unwrap();
                if ends[at] {
                    tokio::task::yield_now().await;
                }
            }
            stream.shutdown().await.unwrap();
        }));
        let sent = &lock(&inner).stream;
        prop_assert!(sent.taken == whole);
    }
}
