//! Collects the facts: the only part of `udco doctor` that looks at the machine.

mod access;
mod answer;
mod certificate;
mod clients;
mod engine;
mod exec_start;
mod files;
mod launch;
mod machine;
mod network;
mod packaged;
mod processes;
mod refused;
mod unit;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use udco_options::{Reading, read};

use super::facts::{
    Facts, Ignored, Limits, NamedFile, RefusedOptions, Starter, Subject, Unit, Way,
};
use crate::openvpn_options;
use crate::preloading::Identity;
use crate::survey::Survey;
use crate::{kernel, survey};

/// How the OpenVPN that is examined is started.
struct Start {
    words: Vec<OsString>,
    directory: PathBuf,
    way: Way,
    who: Identity,
    /// The socket of a shared engine.
    engine: Option<PathBuf>,
    starter: Starter,
    limits: Limits,
    unit: Option<Unit>,
    /// What of the package's settings has no effect, if they concern it, and options that udco refuses.
    ignored: Vec<Ignored>,
    refused: Vec<RefusedOptions>,
    /// Files without which the unit does not start.
    unusable: Vec<NamedFile>,
    /// The unit's user, if that is not root, and the directories that systemd makes for it.
    account: Option<(access::Account, Vec<PathBuf>)>,
}

/// The facts about a subject.
///
/// # Errors
/// If the engines cannot be listed.
pub(super) fn gather(subject: Subject) -> anyhow::Result<Facts> {
    let start = start(&subject);
    let openvpn = launch::Found::of(&start.words);
    let mut configurations = Vec::new();
    let reading = match &subject {
        Subject::Machine => None,
        _ => openvpn
            .as_ref()
            .map(|found| reading(found, &start.directory, &mut configurations)),
    };
    let (mut texts, silent) = survey::states(None)?;
    // Where nobody would look for it.
    let place = |path: &Path| path.canonicalize().ok();
    let is_new = |it: &&PathBuf| texts.iter().all(|(at, _)| place(at) != place(it));
    let elsewhere = start.engine.as_ref().filter(is_new);
    if let Some(Ok((more, _))) = elsewhere.map(|socket| survey::states(Some(socket))) {
        texts.extend(more);
    }
    let survey = Survey::of_all(&texts, silent, false, (kernel::links(), Vec::new()));
    let network = network::look(&survey)?;
    let mut running = processes::look(&survey)?;
    running.examined = match (&subject, &start.unit) {
        (Subject::Config(path), _) => processes::with_config(&running, path),
        (_, Some(Unit::Loaded(unit))) => {
            let main = unit.main;
            let mut openvpns = running.openvpns.iter();
            openvpns.position(|it| Some(it.pid) == main)
        }
        _ => None,
    };
    let (mut files, certificates) = reading
        .as_ref()
        .map(|reading| files::look(reading, &start.directory))
        .unwrap_or_default();
    let account = start.account.as_ref().map(|(account, _)| account);
    // Nothing can be given to a user that does not exist yet.
    let unit = account.filter(|it| !it.is_dynamic);
    let clients = reading.as_ref().and_then(|it| clients::look(it, unit));
    let (directory, clients) = clients.unzip();
    files.extend(directory);
    files.extend(start.unusable);
    let denied = match (&start.account, &reading) {
        (Some((account, own)), Some(reading)) => {
            access::denied(account, &configurations, reading, &files, own)
        }
        _ => Vec::new(),
    };
    let engine = start.engine.as_deref();
    let engine = engine.map(|socket| engine::look(socket, start.who, account));
    let launch = launch::look(openvpn.as_ref(), &start.words, start.way, start.who, engine);
    let machine = machine::look(launch.release);
    Ok(Facts {
        subject,
        reading,
        launch,
        unit: start.unit,
        ignored: start.ignored,
        refused: start.refused,
        machine,
        starter: start.starter,
        limits: start.limits,
        files,
        denied,
        clients,
        certificates,
        network,
        running,
    })
}

fn start(subject: &Subject) -> Start {
    let own = |words: Vec<OsString>| Start {
        words,
        directory: PathBuf::new(),
        way: Way::Run,
        who: Identity::own(),
        engine: None,
        starter: machine::own_starter(),
        limits: machine::own_limits(),
        unit: None,
        ignored: Vec::new(),
        refused: Vec::new(),
        unusable: Vec::new(),
        account: None,
    };
    match subject {
        Subject::Machine => Start {
            ignored: packaged::ignored(),
            refused: refused::in_own_settings(),
            ..own(vec!["openvpn".into()])
        },
        Subject::Config(path) => own(vec!["openvpn".into(), "--config".into(), path.into()]),
        Subject::Unit(name) => match unit::ask(name) {
            unit::Answer::Loaded(properties) => {
                let (words, way) = properties.words();
                Start {
                    directory: properties.directory(),
                    who: properties.identity(),
                    engine: properties.engine(),
                    starter: properties.starter(),
                    limits: properties.limits(),
                    ignored: properties.ignored(),
                    refused: properties.refused(),
                    unusable: properties.unusable(),
                    account: properties.account(),
                    unit: Some(match launch::Found::of(&words) {
                        Some(_) => Unit::Loaded(properties.loaded()),
                        None => Unit::NoOpenVpn {
                            command: properties.command(),
                        },
                    }),
                    words,
                    way,
                }
            }
            unit::Answer::None(unit) => Start {
                unit: Some(unit),
                ..own(Vec::new())
            },
        },
    }
}

/// The options, and the files that were read.
fn reading(
    found: &launch::Found<'_>,
    directory: &Path,
    configurations: &mut Vec<PathBuf>,
) -> Reading {
    let directory = directory.join(&found.openvpn.directory);
    read(found.openvpn.arguments, &directory, |path| {
        let bytes = openvpn_options::open(path);
        configurations.extend(bytes.is_ok().then(|| path.to_owned()));
        bytes.map_err(|error| crate::refusal::io_words(&error))
    })
}
