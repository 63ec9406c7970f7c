//! `udco show`: the state of the engines on this machine, and of the kernel's own driver.

mod choice;
mod links;
mod text;

pub(crate) use links::print as links;
pub(crate) use text::{key, print_traffic};

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::choice::Choice;
use self::text::Printer;
use crate::client::Trouble;
use crate::output::{self, complain};
use crate::style::Style;
use crate::survey::{self, Survey};
use crate::{common_names, exit, interface};

/// Codes with which a device that is not found may well be there.
const UNKNOWN: [u8; 4] = [
    exit::NONE_RUNS,
    exit::DENIED,
    exit::SILENT,
    exit::UNREACHABLE,
];

/// Command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show this device only [default: all].
    #[arg(value_parser = crate::interface::argument)]
    device: Option<String>,

    /// Show this peer of it only, by its id.
    peer: Option<u32>,

    /// Print one JSON object, as described by show.schema.json in /usr/share/doc/udco.
    #[arg(long, conflicts_with = "watch")]
    json: bool,

    /// Print again and again, every 2 seconds or as given, with rates, and the busiest peers first.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u16).range(1..=3600)
    )]
    watch: Option<u16>,

    /// Ask the engine listening on this socket [default: every engine in this network namespace, and the kernel's own
    /// driver].
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,

    /// Show the engines of every network namespace.
    #[arg(long, conflicts_with = "engine")]
    all: bool,
}

/// Prints the state of every engine, and returns the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let style = Style::of_output();
    let Some(seconds) = arguments.watch else {
        return look(arguments, &mut Printer::new(style));
    };
    if let Some(device) = &arguments.device
        && device.parse::<u16>().is_ok()
        && interface::index(device).is_none()
    {
        bail!("there is no interface {device} here: for every {device} s, write --watch={device}");
    }
    let mut printer = Printer::of_watch(style);
    let every = Duration::from_secs(seconds.into());
    loop {
        let begin = Instant::now();
        // What was chosen may come, or come back.
        if let Err(error) = look(arguments, &mut printer) {
            match error.is::<output::NobodyReads>() {
                true => return Err(error),
                false => complain!("{error:#}"),
            }
        }
        output::flush()?;
        thread::sleep(every.saturating_sub(begin.elapsed()));
    }
}

fn look(arguments: &Arguments, printer: &mut Printer) -> Result<u8> {
    let states = survey::states(arguments.engine.as_deref());
    printer.begin(Instant::now())?;
    let (texts, silent) = match states {
        Ok(states) => states,
        // Of the engine that was named.
        Err(error) => {
            let trouble = error.downcast_ref::<Trouble>();
            let Some(code) = trouble.map(survey::code) else {
                return Err(error);
            };
            complain!("{error:#}");
            return Ok(code);
        }
    };
    let is_named = arguments.engine.is_some();
    let mut survey = Survey::of(&texts, silent, is_named, arguments.all)?;
    let code = survey.exit_code();
    for remark in survey.remarks() {
        complain!("{remark}");
    }
    if let Some(device) = &arguments.device {
        let choice = Choice {
            device,
            peer: arguments.peer,
        };
        match choice.apply(&mut survey) {
            // It may be there, for all that is known.
            Err(error) if survey.devices() == 0 && UNKNOWN.contains(&code) => {
                complain!("{error:#}");
                return Ok(code);
            }
            applied => applied?,
        }
    }
    common_names::add(&mut survey)?;
    if arguments.json {
        let report = survey.into_report();
        match arguments.peer {
            Some(peer) => output::json(&choice::of_peer(report, peer)?)?,
            None => output::json(&report)?,
        }
        return Ok(code);
    }
    printer.print(&survey, arguments.peer)?;
    Ok(code)
}
