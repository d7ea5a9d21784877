//! Who writes the lines: a thread of its own, so that a call is not held up by whoever reads them, or does not.

use std::io::Write;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that wait to be written. At a line for each of 20 000 calls a second, they last for 0.4 s.
const LINES: usize = 8192;

static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Has the lines of the process's log written to `writer` on a thread of its own. What comes while 8192 wait is dropped and
/// counted. What waits is written when the guard is dropped, if that takes no more than about a second.
pub fn aside(writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    let (written, guard) = lines_of(writer);
    // There is one log in a process.
    let _ = LOST.set(written.error_counter());
    (written, guard)
}

fn lines_of(writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(LINES).lossy(true).thread_name("log").finish(writer)
}

/// How many lines of the process's log were dropped as nobody read those before.
pub fn lost_lines() -> usize {
    LOST.get().map_or(0, ErrorCounter::dropped_lines)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    /// A reader that takes nothing until the other side is gone.
    struct Stalled(Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_takes_nothing_and_what_is_too_much_is_dropped_and_counted() {
        let (reads, stalled) = sync_channel(0);
        let (mut written, guard) = lines_of(Stalled(stalled));
        let more = 100;
        for _ in 0..LINES + more {
            written.write_all(b"a line\n").unwrap();
        }
        // One may be in the writer's hands.
        let lost = written.error_counter().dropped_lines();
        assert!(lost == more || lost == more - 1, "{lost}");
        drop(reads);
        drop(guard);
    }
}
