//! `udco metrics`: counters for Prometheus, printed, written to a file, or served.

mod address;
mod families;
mod format;
mod http;
mod labels;
mod listen;
mod sample;
mod source;
mod textfile;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use self::address::Address;
use self::format::Format;
use self::source::Source;
use crate::output::{self, unwritable};

/// Command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Serve the counters over HTTP at this address, as `/metrics`: e.g. `127.0.0.1:9176`, or `unix:PATH`
    /// (`unix:/run/udco-metrics/socket` in the package's unit).
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["textfile", "every", "format"])]
    listen: Option<Address>,

    /// Write the counters to this file. node_exporter's textfile collector reads those that end with `.prom`.
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,

    /// Write the file again and again, this often, e.g. `15s` [default: once].
    #[arg(long, value_name = "TIME", requires = "textfile", value_parser = textfile::interval)]
    every: Option<Duration>,

    /// Format of what is printed or written. Over HTTP, the client chooses.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Also report each peer: up to eleven series for each.
    #[arg(long)]
    peers: bool,

    /// Ask the engine listening on this socket; may be repeated [default: every engine in this network namespace, and the
    /// kernel's own driver].
    #[arg(long, value_name = "PATH")]
    engine: Vec<PathBuf>,

    /// Ask the engines of every network namespace.
    #[arg(long, conflicts_with = "engine")]
    all: bool,
}

/// Prints, writes or serves the counters.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let source = Source::new(arguments.engine, arguments.all, arguments.peers);
    if let Some(address) = &arguments.listen {
        return listen::run(address, &source);
    }
    let Some(file) = &arguments.textfile else {
        let text = source.text(arguments.format);
        return output::text(&text);
    };
    let write = || {
        let written = textfile::write(file, &source.text(arguments.format));
        written.map_err(|error| unwritable(file, error))
    };
    match arguments.every {
        Some(every) => textfile::repeat(every, write),
        None => write(),
    }
}
