//! How an event becomes a line: text or JSON, and at its end the place in a trace of the call that it was written within.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::within::place;
use crate::infer::TraceContext;

/// The forms of lines, between which the log can be switched.
pub(super) struct Lines {
    is_json: Arc<AtomicBool>,
    is_coloured: bool,
    text: Format<Full>,
    json: Format<Json>,
}

impl Lines {
    pub(super) fn new(is_json: Arc<AtomicBool>, is_coloured: bool) -> Lines {
        // No spans: those of libraries are written in another form than JSON.
        let json = Format::default().json().flatten_event(true).with_span_list(false).with_current_span(false);
        Lines { is_json, is_coloured, text: Format::default().with_ansi(is_coloured), json: json.with_ansi(false) }
    }

    fn plain<S, N>(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        match self.is_json.load(Relaxed) {
            true => self.json.format_event(context, writer, event),
            false => self.text.format_event(context, writer, event),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(TraceContext { trace_id, span_id, .. }) = place() else { return self.plain(context, writer, event) };
        let mut line = String::new();
        self.plain(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match line.strip_suffix('}').filter(|_| line.starts_with('{')) {
            Some(open) => {
                writeln!(writer, "{open},\"trace_id\":\"{trace_id:032x}\",\"span_id\":\"{span_id:016x}\"}}")
            }
            None if self.is_coloured => {
                writeln!(writer, "{line} \x1b[3mtrace_id\x1b[0m={trace_id:032x} \x1b[3mspan_id\x1b[0m={span_id:016x}")
            }
            None => writeln!(writer, "{line} trace_id={trace_id:032x} span_id={span_id:016x}"),
        }
    }
}
