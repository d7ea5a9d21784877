//! A line of the log for each call, where one is asked for: who called what, how it ended, and where its time went. Nothing
//! of a call's content is in it, and of what callers choose only a model's name, which has a grammar and a length.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytestring::ByteString;
use tracing::Level;

use crate::config::{AccessLog, Log};
use crate::error::Kind;
use crate::infer::{InferResponse, Stage, Target, Timeline, Trace, Version, VersionChoice, Work};
use crate::observe::Allowance;
use crate::observe::log::within;
use crate::wire::status;

/// What a filter calls these lines.
const TARGET: &str = "infergate::access";

/// Lines a second; what is over is counted in the next one. Some 400 KB/s are what a disk bears.
const MOST: u32 = 1000;

/// Which calls have a line. Clones are handles to the same; by default none has.
#[derive(Debug, Clone, Default)]
pub struct Access(Option<Arc<Rules>>);

#[derive(Debug)]
struct Rules {
    of_good_ones: f64,
    allowance: Allowance,
    left_out: AtomicU64,
}

impl Access {
    /// As the configuration says.
    pub fn of(config: &Log) -> Access {
        let of_good_ones = match config.access {
            AccessLog::Off => return Access(None),
            AccessLog::Failed => 0.0,
            AccessLog::All => config.access_sample,
        };
        let allowance = Allowance::new(MOST, Instant::now());
        Access(Some(Arc::new(Rules { of_good_ones, allowance, left_out: AtomicU64::new(0) })))
    }

    /// Notes down a call of `method` from there, to its end; also what is to be told of it on the way.
    pub(super) fn begin(
        &self,
        method: &'static str,
        peer: SocketAddr,
        trace: Option<&Arc<Trace>>,
        timeline: &Timeline,
    ) -> (Noted, Option<Arc<Facts>>) {
        let Some(rules) = &self.0 else { return (Noted(None), None) };
        let facts = Arc::new(Facts::default());
        let (rules, trace, timeline) = (rules.clone(), trace.cloned(), timeline.clone());
        let noting = Noting { rules, method, peer, trace, timeline, facts: facts.clone() };
        (Noted(Some(Box::new(noting))), Some(facts))
    }
}

/// What is known of a call by and by.
#[derive(Debug, Default)]
pub(super) struct Facts {
    model: OnceLock<Target>,
    bytes_in: AtomicUsize,
    ran: OnceLock<Ran>,
}

#[derive(Debug)]
struct Ran {
    version: Option<Version>,
    rows: usize,
    calls: u32,
    at: ByteString,
    bytes_out: usize,
}

impl Facts {
    /// Its message has come.
    pub(super) fn received(&self, bytes: usize) {
        self.bytes_in.store(bytes, Relaxed);
    }

    /// It is for this model.
    pub(super) fn is_for(&self, model: &Target) {
        let _ = self.model.set(model.clone());
    }

    /// It was answered in so many bytes.
    pub(super) fn answered(&self, response: &InferResponse, bytes_out: usize) {
        let execution = &response.execution;
        let (rows, calls, at) = (execution.composition.rows, execution.members, execution.device.clone());
        let _ = self.ran.set(Ran { version: response.version, rows, calls, at, bytes_out });
    }

    fn version(&self) -> Option<i64> {
        let asked = self.model.get().and_then(|target| match &target.version {
            VersionChoice::Exact(version) => Some(*version),
            _ => None,
        });
        self.ran.get().and_then(|ran| ran.version).or(asked).map(Version::number)
    }
}

/// A call that is noted down. Dropped without an end, its caller has left.
pub(super) struct Noted(Option<Box<Noting>>);

struct Noting {
    rules: Arc<Rules>,
    method: &'static str,
    peer: SocketAddr,
    trace: Option<Arc<Trace>>,
    timeline: Timeline,
    facts: Arc<Facts>,
}

impl Noted {
    /// The call ended well, or so.
    pub(super) fn end(mut self, failure: Option<Kind>) {
        if let Some(noting) = self.0.take() {
            noting.end(failure);
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(noting) = self.0.take() {
            noting.end(Some(Kind::Cancelled));
        }
    }
}

impl Noting {
    fn end(&self, failure: Option<Kind>) {
        let rules = &self.rules;
        if !tracing::enabled!(target: TARGET, Level::INFO) {
            return;
        }
        if failure.is_none() && (rules.of_good_ones < 1.0 && fastrand::f64() >= rules.of_good_ones) {
            return;
        }
        let now = Instant::now();
        if rules.allowance.take(now) {
            within(self.trace.clone(), || self.write(failure, now));
        } else {
            rules.left_out.fetch_add(1, Relaxed);
        }
    }

    fn write(&self, failure: Option<Kind>, now: Instant) {
        let (facts, spent) = (&self.facts, self.timeline.spent_until(now));
        let ran = facts.ran.get();
        let took = |stage| Some(ms(spent.of(stage))).filter(|ms| *ms > 0.0);
        let left_out = Some(self.rules.left_out.swap(0, Relaxed)).filter(|count| *count > 0);
        tracing::info!(
            target: TARGET,
            method = self.method,
            model = facts.model.get().map(|target| target.name.as_str()),
            version = facts.version(),
            code = failure.map_or("OK", status::name),
            failure = failure.map(tracing::field::debug),
            peer = %self.peer,
            bytes_in = facts.bytes_in.load(Relaxed),
            bytes_out = ran.map_or(0, |ran| ran.bytes_out),
            ms = ms(spent.total()),
            receive_ms = took(Stage::Receive),
            admit_ms = took(Stage::Admit),
            pick_ms = took(Stage::Pick),
            connect_ms = took(Stage::Connect),
            send_ms = took(Stage::Send),
            queue_ms = took(Stage::Queue),
            merge_ms = took(Stage::Merge),
            execute_ms = took(Stage::Execute),
            split_ms = took(Stage::Split),
            return_ms = took(Stage::Return),
            encode_ms = took(Stage::Encode),
            other_ms = ms(spent.other()),
            rows = ran.map(|ran| ran.rows),
            calls = ran.map(|ran| ran.calls),
            ran_at = ran.map(|ran| ran.at.clone()).or_else(|| self.asked()).as_deref(),
            left_out,
            "call"
        );
    }

    /// The endpoint that was asked last, where that was noted for a trace.
    fn asked(&self) -> Option<ByteString> {
        let works = self.trace.as_ref()?.notes.as_ref()?.works();
        works.kept.iter().rev().find_map(|work| match work {
            Work::Hop(hop) => hop.attempts().last().map(|attempt| attempt.endpoint.clone()),
            Work::Run(_) => None,
        })
    }
}

/// Rounded to microseconds.
fn ms(time: std::time::Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::observe::log::tests::kept;

    /// The lines of these calls, each of which ended well or not.
    fn lines(access: AccessLog, access_sample: f64, filter: &str, calls: &[Option<Kind>]) -> Vec<Value> {
        let access = Access::of(&Log { access, access_sample, ..Log::default() });
        let (_, kept, subscriber) = kept(filter, true);
        tracing::subscriber::with_default(subscriber, || {
            for failure in calls {
                let timeline = Timeline::start(Instant::now());
                timeline.end(Stage::Queue, timeline.started() + Duration::from_micros(1));
                let peer = "127.0.0.1:7".parse().unwrap();
                let (noted, facts) = access.begin("a/B", peer, None, &timeline);
                if let Some(facts) = facts {
                    facts.is_for(&Target::parse("m".into(), "3").unwrap());
                    facts.received(12);
                }
                noted.end(*failure);
            }
        });
        kept.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    const ENDS: [Option<Kind>; 3] = [None, Some(Kind::Invalid), None];

    #[test]
    fn a_line_says_what_was_called_and_how_it_ended() {
        let told = &lines(AccessLog::All, 1.0, "info", &ENDS)[1];
        assert_eq!((&told["method"], &told["model"], &told["version"]), (&"a/B".into(), &"m".into(), &3.into()));
        assert_eq!((&told["code"], &told["failure"]), (&"INVALID_ARGUMENT".into(), &"Invalid".into()));
        assert_eq!((&told["peer"], &told["bytes_in"]), (&"127.0.0.1:7".into(), &12.into()));
        assert!(told["queue_ms"] == 0.001 && told["ms"].is_number() && told.get("execute_ms").is_none(), "{told}");
    }

    #[test]
    fn which_calls_have_one_is_for_the_configuration_to_say() {
        let count = |access, sample, filter| lines(access, sample, filter, &ENDS).len();
        assert_eq!(count(AccessLog::Off, 1.0, "info"), 0);
        assert_eq!(count(AccessLog::Failed, 1.0, "info"), 1);
        assert_eq!(count(AccessLog::All, 1.0, "info"), 3);
        assert_eq!(count(AccessLog::All, 0.0, "info"), 1, "failed calls are no part of the sample");
        assert_eq!(count(AccessLog::All, 1.0, "info,infergate::access=off"), 0);
    }

    #[test]
    fn a_call_that_nobody_ended_was_left_by_its_caller() {
        let access = Access::of(&Log { access: AccessLog::Failed, ..Log::default() });
        let (_, kept, subscriber) = kept("info", true);
        tracing::subscriber::with_default(subscriber, || {
            let timeline = Timeline::start(Instant::now());
            drop(access.begin("a/B", "127.0.0.1:7".parse().unwrap(), None, &timeline));
        });
        assert!(kept.text().contains("\"code\":\"CANCELLED\""), "{}", kept.text());
    }

    #[test]
    fn what_is_over_the_rate_is_counted_and_not_written() {
        let most = MOST as usize;
        let told = lines(AccessLog::All, 1.0, "info", &vec![None; 20 * most]);
        // Slow machines let some more through, since time goes on.
        assert!((most..10 * most).contains(&told.len()), "{}", told.len());
        let left_out: u64 = told.iter().filter_map(|line| line["left_out"].as_u64()).sum();
        assert!(left_out as usize <= 20 * most - told.len());
    }
}
