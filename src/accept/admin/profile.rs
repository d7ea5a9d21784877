//! Where the time of this process's CPUs goes, sampled while somebody waits for the picture. One at a time: there is one
//! timer for it in a process.

use http::StatusCode;
use http::request::Parts;

use super::page::{Answer, plain, query};

/// How long is sampled where nobody says, and at most.
const SECONDS: u64 = 10;
const MOST: u64 = 60;

/// Samples for as long as is asked for, and answers a flame graph.
pub(super) async fn profile(asked: &Parts) -> Answer {
    let seconds = match query(asked, "seconds").map(str::parse) {
        None => SECONDS,
        Some(Ok(seconds)) if (1..=MOST).contains(&seconds) => seconds,
        Some(_) => return plain(StatusCode::BAD_REQUEST, format!("seconds: allowed is 1 to {MOST}\n")),
    };
    sampled(seconds).await
}

#[cfg(not(target_os = "linux"))]
async fn sampled(_seconds: u64) -> Answer {
    plain(StatusCode::NOT_IMPLEMENTED, "the CPU is sampled on Linux only\n")
}

#[cfg(target_os = "linux")]
use linux::sampled;

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use http::StatusCode;
    use pprof::{Error, Frames, ProfilerGuard, ProfilerGuardBuilder, Report};
    use tokio::time::sleep;

    use super::super::flame::Flame;
    use super::super::page::{Answer, plain, typed};

    /// Samples a second of CPU time, not in step with anything that is done a hundred times a second.
    const FREQUENCY: i32 = 99;

    /// A thread that is just in one of these is not sampled: its stack may not be walked there.
    const LEFT_ALONE: [&str; 4] = ["libc.so", "libgcc", "pthread", "vdso"];

    pub(super) async fn sampled(seconds: u64) -> Answer {
        let guard = match ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&LEFT_ALONE).build() {
            Ok(guard) => guard,
            Err(Error::Running) => return plain(StatusCode::CONFLICT, "the CPU is being sampled already\n"),
            Err(error) => {
                return plain(StatusCode::NOT_IMPLEMENTED, format!("the CPU cannot be sampled here: {error}\n"));
            }
        };
        // Whoever goes away ends it.
        sleep(Duration::from_secs(seconds)).await;
        // Names are looked up in files.
        match tokio::task::spawn_blocking(move || drawn(&guard, seconds)).await {
            Ok(Ok(svg)) => typed("image/svg+xml", svg),
            Ok(Err(error)) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("no samples: {error}\n")),
            Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n"),
        }
    }

    fn drawn(guard: &ProfilerGuard<'_>, seconds: u64) -> Result<String, Error> {
        let report: Report = guard.report().build()?;
        let mut flame = Flame::default();
        for (frames, count) in &report.data {
            let stack = stack(frames);
            flame.add(stack.iter().map(String::as_str), usize::try_from(*count).unwrap_or(0));
        }
        let samples = flame.samples();
        Ok(flame.svg(&format!("infergate: {seconds} s, {samples} samples at {FREQUENCY} Hz of CPU time, by thread")))
    }

    /// The thread, and its frames from the outermost.
    fn stack(frames: &Frames) -> Vec<String> {
        let inlined = frames.frames.iter().rev().flat_map(|frame| frame.iter().rev());
        let names = inlined.map(|symbol| symbol.name());
        std::iter::once(frames.thread_name_or_id()).chain(names).collect()
    }
}
