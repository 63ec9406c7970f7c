//! The engine's log: `udco: what happened`, on standard error, or wherever the client that it serves writes its own
//! lines.

use std::fmt;
use std::io;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, Subscriber as Formatter};
use tracing_subscriber::registry::LookupSpan;

use crate::escape::Escaping;

/// Installs the log subscriber.
pub(crate) fn start(verbose: bool) {
    let level = if verbose { Level::DEBUG } else { Level::INFO };
    let lines = Formatter::builder()
        .with_max_level(level)
        .with_writer(|| Lines)
        // Otherwise it would report its errors with `eprintln!`, which panics if nobody reads (faults B1).
        .log_internal_errors(false)
        .event_format(Line)
        .finish();
    // Fails only if there is one already.
    let _ = tracing::subscriber::set_global_default(lines);
}

/// Destination of the lines: each event is written at once.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        udco_engine::output::write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One line per event; no time, as the journal and OpenVPN's log have their own.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let word = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        };
        write!(writer, "udco: {word}")?;
        let mut escaping = Escaping::line(writer.by_ref());
        context
            .field_format()
            .format_fields(Writer::new(&mut escaping), event)?;
        writeln!(writer)
    }
}
