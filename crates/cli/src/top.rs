//! `udco top`: devices, peers, rates and drops on a terminal, again and again.
//!
//! `source` asks the engines in a thread of its own, so that one that does not answer delays no key. `model` makes rates of
//! samples, `controls` is what the user has chosen, and `view` draws both; none of these three looks at anything else.

mod controls;
mod history;
mod input;
mod model;
mod order;
mod sample;
mod source;
mod terminal;
mod turns;
mod view;

use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ratatui::crossterm::event::{self, Event};
use udco_sys::signal::Termination;

use self::controls::Controls;
use self::input::Then;
use self::model::Model;
use self::sample::Sample;
use self::source::Source;
use self::terminal::Screen;
use self::view::Look;
use crate::client::wait;
use crate::output;
use crate::style::Style;

/// How long a sample may wait until it is seen. Keys and signals wait for nothing.
const TURN: Duration = Duration::from_millis(100);

/// Command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ask the engines this often.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=3600)
    )]
    every: u16,

    /// Ask the engine listening on this socket [default: every engine in this network namespace, and the kernel's own
    /// driver].
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,

    /// Show the engines of every network namespace.
    #[arg(long, conflicts_with = "engine")]
    all: bool,
}

/// Shows the state of every engine until the user has seen enough.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let is_dumb = std::env::var_os("TERM").is_none_or(|it| it.is_empty() || it == "dumb");
    if is_dumb || !stdin().is_terminal() || !stdout().is_terminal() {
        bail!(
            "top needs a terminal that can move its cursor: use `udco show --watch` in a pipe, and `udco show --json` in a \
             script"
        );
    }
    // Before there is another thread.
    let termination = Termination::catch().context("cannot wait for signals")?;
    let every = Duration::from_secs(arguments.every.into());
    let source = Source {
        engine: arguments.engine.clone(),
        everywhere: arguments.all,
        every,
    };
    let samples = source.start().context("cannot start a thread")?;
    let mut screen = Screen::open().context("cannot use the terminal")?;
    watch(&mut screen, &samples, &termination, every)
}

/// Draws until the user or a signal ends it.
fn watch(
    screen: &mut Screen,
    samples: &Receiver<Sample>,
    termination: &Termination,
    every: Duration,
) -> Result<()> {
    let (mut model, mut controls) = (Model::default(), Controls::default());
    let style = Style::of_output();
    let mut drawn: Option<Instant> = None;
    loop {
        match samples.try_recv() {
            Ok(sample) => {
                model.take(sample);
                drawn = None;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => bail!("the thread that asks the engines has ended"),
        }
        // The age of what is seen has changed.
        if drawn.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            let now = Instant::now();
            let look = Look { style, every, now };
            screen
                .draw(|frame| view::draw(frame, &model, &mut controls, &look))
                .context("cannot write to the terminal")?;
            drawn = Some(now);
        }
        wait(&[stdin().as_fd(), termination.as_fd()], Some(TURN))?;
        // Reading from a terminal that is gone would never end.
        if termination.received().is_some() || output::is_abandoned() {
            return Ok(());
        }
        while event::poll(Duration::ZERO).context("cannot read from the terminal")? {
            drawn = None;
            let Event::Key(key) = event::read()? else {
                continue;
            };
            match input::press(key, &mut controls, &model) {
                Then::Continue => {}
                Then::Suspend => screen.suspend().context("cannot use the terminal")?,
                Then::End => return Ok(()),
            }
        }
    }
}
