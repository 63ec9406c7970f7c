//! Asks the engines, again and again, in a thread of its own.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::sample::Sample;
use crate::common_names;
use crate::survey::{self, Survey};

/// Which engines are asked, and how often.
#[derive(Debug)]
pub(super) struct Source {
    /// The socket of one, instead of all.
    pub(super) engine: Option<PathBuf>,
    /// Those of all network namespaces.
    pub(super) everywhere: bool,
    pub(super) every: Duration,
}

impl Source {
    /// Starts the thread. It ends when nobody receives its samples any more.
    ///
    /// # Errors
    /// The system's, if there can be no other thread.
    pub(super) fn start(self) -> io::Result<Receiver<Sample>> {
        let (sender, receiver) = sync_channel(1);
        let asking = thread::Builder::new().name("source".to_owned());
        asking.spawn(move || {
            loop {
                let begin = Instant::now();
                if sender.send(self.sample()).is_err() {
                    return;
                }
                // Engines with very many peers have something else to do, too.
                let took = begin.elapsed();
                thread::sleep(self.every.saturating_sub(took).max(took));
            }
        })?;
        Ok(receiver)
    }

    fn sample(&self) -> Sample {
        self.ask()
            .unwrap_or_else(|error| Sample::failed(Instant::now(), &error))
    }

    fn ask(&self) -> Result<Sample> {
        let (texts, silent) = survey::states(self.engine.as_deref())?;
        let now = Instant::now();
        let mut survey = Survey::of(&texts, silent, self.engine.is_some(), self.everywhere)?;
        common_names::add(&mut survey)?;
        Ok(Sample::of(survey, now))
    }
}
