//! Where the counters come from: the engines, each asked as another client.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::format::Format;
use super::sample::Sample;
use crate::client::Trouble;
use crate::survey::Survey;
use crate::{engines, kernel, runtime_dir, state};

/// Which engines are asked, and for what.
#[derive(Debug)]
pub(super) struct Source {
    /// Their sockets; empty for all of them.
    named: Vec<PathBuf>,
    everywhere: bool,
    each_peer: bool,
    /// The engines of before, and the indexes of their devices here.
    known: Mutex<Known>,
}

type Known = BTreeMap<PathBuf, BTreeSet<u32>>;

impl Source {
    pub(super) fn new(named: Vec<PathBuf>, everywhere: bool, each_peer: bool) -> Self {
        Self {
            named,
            everywhere,
            each_peer,
            known: Mutex::default(),
        }
    }

    /// The counters as they are now.
    pub(super) fn text(&self, format: Format) -> String {
        format.write(self.sample())
    }

    /// Asks the engines. Takes no longer than the slowest answer: an engine that does not answer in time is down.
    fn sample(&self) -> Sample {
        let begin = Instant::now();
        let mut sockets = match self.named.is_empty() {
            true => runtime_dir::sockets(),
            false => self.named.clone(),
        };
        // Those of /run/udco come first. A user may have put any number elsewhere.
        sockets.truncate(engines::AT_A_TIME);
        let (texts, mut silent) = engines::each(&sockets, |mut client| client.state());
        let mut denied = 0;
        let mut survey = if self.named.is_empty() {
            let kernel = kernel::devices(None);
            let mut survey = Survey::of_all(&texts, silent, self.everywhere, kernel);
            // They may be another user's, and none of this one's business.
            denied = survey.take_denied();
            survey
        } else {
            let known = |path: &Path| {
                let mut all = texts
                    .iter()
                    .map(|it| &it.0)
                    .chain(silent.iter().map(|it| &it.0));
                all.any(|it| it == path)
            };
            let dead: Vec<_> = sockets.into_iter().filter(|path| !known(path)).collect();
            silent.extend(dead.into_iter().map(|path| (path, Trouble::Silent.into())));
            let mut survey = Survey::of_all(&texts, silent, true, kernel::Survey::default());
            // What the other engines have is not asked for.
            survey.left.clear();
            survey.unsure.clear();
            survey.unreachable.clear();
            survey
        };
        for socket in self.died(&survey) {
            survey.silent.push((socket, Trouble::Silent.into()));
        }
        let mut sample = Sample::of(survey, self.each_peer);
        sample.denied = denied;
        sample.took = begin.elapsed();
        sample
    }

    /// Engines that were there before, have no socket any more, and have left a device behind. One that has ended in good
    /// order leaves none, and is forgotten.
    fn died(&self, survey: &Survey<'_>) -> Vec<PathBuf> {
        let left = survey.left.iter().chain(&survey.unsure);
        let left: BTreeSet<u32> = left.map(|left| left.ifindex).collect();
        let now: Known = survey
            .engines
            .iter()
            .map(|engine| {
                let devices = engine.state.devices.iter();
                let here = devices.filter(|device| state::is_here(device));
                let here = here.map(|device| device.ifindex).collect();
                (engine.socket.to_owned(), here)
            })
            .collect();
        let silent = survey.silent.iter().map(|(path, _)| path.as_path());
        let silent: BTreeSet<&Path> = silent.collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        forget_ended(&mut known, &now, &silent, &left)
    }
}

/// Brings what is known up to date; returns the engines that have died.
fn forget_ended(
    known: &mut Known,
    now: &Known,
    silent: &BTreeSet<&Path>,
    left: &BTreeSet<u32>,
) -> Vec<PathBuf> {
    let mut died = Vec::new();
    known.retain(|socket, devices| {
        if silent.contains(socket.as_path()) {
            return true;
        }
        let has_died = !now.contains_key(socket) && !devices.is_disjoint(left);
        died.extend(has_died.then(|| socket.clone()));
        has_died
    });
    known.extend(
        now.iter()
            .map(|(socket, devices)| (socket.clone(), devices.clone())),
    );
    died
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engines(all: &[(&str, &[u32])]) -> Known {
        let all = all.iter();
        all.map(|(path, devices)| (PathBuf::from(path), devices.iter().copied().collect()))
            .collect()
    }

    #[test]
    fn an_engine_has_died_if_it_has_left_a_device() {
        let nobody = BTreeSet::new();
        let mut known = Known::new();
        let both = engines(&[("/one", &[3]), ("/two", &[4, 5])]);
        assert!(forget_ended(&mut known, &both, &nobody, &BTreeSet::new()).is_empty());
        // One is stopped for a while, two is killed, and its device stays until it is taken over.
        let silent = BTreeSet::from([Path::new("/one")]);
        for _ in 0..2 {
            let died = forget_ended(&mut known, &Known::new(), &silent, &BTreeSet::from([5]));
            assert_eq!(died, [PathBuf::from("/two")]);
        }
        let one = engines(&[("/one", &[3])]);
        assert!(forget_ended(&mut known, &one, &nobody, &BTreeSet::new()).is_empty());
        // One ends in good order.
        assert!(forget_ended(&mut known, &Known::new(), &nobody, &BTreeSet::new()).is_empty());
        assert!(known.is_empty());
    }

    #[test]
    fn a_named_engine_that_is_not_there_is_down() {
        let source = Source::new(vec!["/nonexistent/engine.sock".into()], false, false);
        let text = source.text(Format::Text);
        let down = "udco_up{engine=\"/nonexistent/engine.sock\"} 0\n";
        assert!(text.contains(down), "{text}");
    }
}
