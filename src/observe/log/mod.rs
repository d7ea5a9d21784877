//! The log: lines on a writer, which of them can be changed while the process runs. A line that is written within a call
//! ends with the place of that in its trace. It must be told nothing that
//! callers can make as long as they like.

mod lines;
mod within;
mod written;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use lines::Lines;
pub use within::{Within, within};
pub use written::{aside, lost_lines};

/// What is logged, and how; clones are handles to the same.
#[derive(Clone)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    /// The filter as it was given.
    told: Arc<Mutex<String>>,
    is_json: Arc<AtomicBool>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.filter()).finish()
    }
}

impl Log {
    /// A log of what passes `filter` on lines of `writer`, coloured or not, and the subscriber that writes it.
    ///
    /// # Errors
    /// What is wrong with the filter.
    pub fn new<W>(filter: &str, is_json: bool, writer: W, is_coloured: bool) -> Result<(Log, impl Subscriber), String>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let (layer, handle) = reload::Layer::new(parsed(filter)?);
        let is_json = Arc::new(AtomicBool::new(is_json));
        let lines = Lines::new(is_json.clone(), is_coloured);
        let written = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(is_coloured).event_format(lines);
        let told = Arc::new(Mutex::new(filter.to_owned()));
        Ok((Log { filter: handle, told, is_json }, Registry::default().with(layer).with(written)))
    }

    /// The filter in force, as it was given.
    pub fn filter(&self) -> String {
        self.told.lock().expect("nothing panics while a filter is exchanged").clone()
    }

    /// Exchanges the filter.
    ///
    /// # Errors
    /// What is wrong with it; then the one before stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        let parsed = parsed(filter)?;
        let mut told = self.told.lock().expect("nothing panics while a filter is exchanged");
        self.filter.reload(parsed).map_err(|_| "the log is written no more".to_owned())?;
        filter.clone_into(&mut told);
        Ok(())
    }

    /// Whether lines are JSON objects.
    pub fn is_json(&self) -> bool {
        self.is_json.load(Relaxed)
    }

    /// From now on lines are JSON objects, or text.
    pub fn set_json(&self, is_json: bool) {
        self.is_json.store(is_json, Relaxed);
    }
}

fn parsed(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{self, Write};

    use super::*;
    use crate::infer::{Forms, Trace, TraceContext};

    /// A writer that keeps what is written.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn kept(filter: &str, is_json: bool) -> (Log, Kept, impl Subscriber) {
        let kept = Kept::default();
        let writer = kept.clone();
        let (log, subscriber) = Log::new(filter, is_json, move || writer.clone(), false).unwrap();
        (log, kept, subscriber)
    }

    fn trace() -> Option<Arc<Trace>> {
        let context = TraceContext { trace_id: 0xabc, span_id: 0x12, sampled: true };
        Some(Arc::new(Trace { context, state: None, baggage: None, forms: Forms::default(), notes: None }))
    }

    #[test]
    fn what_is_logged_can_be_changed_and_a_wrong_filter_changes_nothing() {
        let (log, kept, subscriber) = kept("warn", false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("one");
            log.set_filter("info,infergate=info").unwrap();
            tracing::info!("two");
            assert!(log.set_filter("info,[").is_err());
            assert_eq!(log.filter(), "info,infergate=info");
            tracing::info!("three");
        });
        let text = kept.text();
        assert!(!text.contains("one") && text.contains("two") && text.contains("three"), "{text}");
    }

    #[test]
    fn a_line_within_a_call_ends_with_its_place_in_the_trace_and_others_do_not() {
        let (log, kept, subscriber) = kept("info", false);
        tracing::subscriber::with_default(subscriber, || {
            within(trace(), || tracing::info!(rows = 3, "inside"));
            tracing::info!(rows = 3, "outside");
            log.set_json(true);
            within(trace(), || tracing::info!(rows = 3, "inside"));
            tracing::info!(rows = 3, "outside");
        });
        let text = kept.text();
        let lines: Vec<&str> = text.lines().collect();
        let ids = "trace_id=00000000000000000000000000000abc span_id=0000000000000012";
        assert!(lines[0].ends_with(&format!("inside rows=3 {ids}")), "{text}");
        assert!(lines[1].ends_with("outside rows=3"), "{text}");
        let [inside, outside] =
            [lines[2], lines[3]].map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        assert_eq!((&inside["message"], &inside["rows"]), (&"inside".into(), &3.into()));
        assert_eq!(inside["trace_id"], "00000000000000000000000000000abc");
        assert_eq!(inside["span_id"], "0000000000000012");
        assert_eq!(outside.get("trace_id"), None);
    }
}
