//! The log of a test: what is written on the test's own thread, where all of its servers run as well.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use infergate::observe::log::Log;
use serde_json::Value;
use tracing::subscriber::{DefaultGuard, set_default};

/// Lines as they are written, in JSON.
pub struct Lines {
    written: Written,
    /// What is logged.
    pub log: Log,
    _default: DefaultGuard,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Of what passes `filter`, until this is dropped.
    pub fn of(filter: &str) -> Lines {
        let written = Written::default();
        let writer = written.clone();
        let (log, subscriber) = Log::new(filter, true, move || writer.clone(), false).unwrap();
        Lines { written, log, _default: set_default(subscriber) }
    }

    /// Those with this message so far.
    pub fn saying(&self, message: &str) -> Vec<Value> {
        let text = String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"] == message).collect()
    }
}
