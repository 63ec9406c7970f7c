//! What systemd says of a unit.

mod environment;
mod prefixes;
mod user;
mod variables;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use udco_ipc::SOCKET_VARIABLE;

use self::variables::Variables;
pub(super) use self::variables::split;
use super::answer;
use super::exec_start;
use super::launch::{engine, is_udco, without_udco};
use super::machine;
use super::{packaged, refused};
use crate::doctor::facts::{
    Ignored, Limits, Loaded, NamedFile, PACKAGED, RefusedOptions, Unit, Way,
};

/// The address families that OpenVPN and its engine need.
const FAMILIES: [&str; 3] = ["AF_UNIX", "AF_NETLINK", "AF_INET"];

/// How long systemd may take. systemctl itself gives up sooner if only the bus is silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to ask for.
const PROPERTIES: &str = "Id,LoadState,MainPID,ExecStart,ExecStartEx,WorkingDirectory,User,Group,DynamicUser,\
    SupplementaryGroups,RuntimeDirectory,StateDirectory,CacheDirectory,LogsDirectory,Environment,EnvironmentFiles,\
    LimitNOFILESoft,LimitNPROCSoft,LimitASSoft,LimitDATASoft,TasksMax,CapabilityBoundingSet,AmbientCapabilities,PrivateDevices,DevicePolicy,DeviceAllow,\
    RestrictAddressFamilies";

pub(super) enum Answer {
    Loaded(Properties),
    /// Nothing to go on.
    None(Unit),
}

/// What is known of a unit.
pub(super) struct Properties {
    /// By their names; what is given several times is joined by line feeds.
    all: BTreeMap<String, String>,
    /// The words of its command, without prefixes; `None` where only `systemctl` says, which joins them with spaces.
    words: Option<Vec<String>>,
    variables: Variables,
    /// Files of variables that keep it from starting.
    unusable: Vec<NamedFile>,
}

/// Asks systemd.
pub(super) fn ask(name: &str) -> Answer {
    let mut systemctl = Command::new("systemctl");
    systemctl.args(["show", "--no-pager", "--property", PROPERTIES, "--", name]);
    let output = match answer::of(&mut systemctl, PATIENCE) {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            return Answer::None(Unit::NoSystemd("systemctl does not end".to_owned()));
        }
        Err(error) => {
            let why = format!(
                "systemctl does not start: {}",
                crate::refusal::io_words(&error)
            );
            return Answer::None(Unit::NoSystemd(why));
        }
    };
    if !output.is_success {
        let why = output
            .stderr
            .lines()
            .next()
            .unwrap_or("systemctl fails")
            .to_owned();
        return Answer::None(Unit::NoSystemd(why));
    }
    let mut properties = Properties::of(&output.stdout);
    if properties.one("LoadState") != "loaded" {
        return Answer::None(Unit::NotFound);
    }
    let words = exec_start::words(properties.one("Id"), PATIENCE);
    properties.words = words.map(|words| properties.with_program(words));
    properties.read_environment_files();
    Answer::Loaded(properties)
}

impl Properties {
    fn of(text: &str) -> Self {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let known = all.entry(name.to_owned()).or_default();
            if !known.is_empty() {
                known.push('\n');
            }
            known.push_str(value);
        }
        let mut properties = Self {
            all,
            words: None,
            variables: Variables::new(),
            unusable: Vec::new(),
        };
        properties.set_variables();
        properties
    }

    fn one(&self, name: &str) -> &str {
        self.all.get(name).map_or("", String::as_str)
    }

    /// Its command, as its file may have it.
    pub(super) fn command(&self) -> String {
        match &self.words {
            Some(words) => exec_start::line(words),
            None => self.joined(),
        }
    }

    /// Its command, with spaces between its words and in them.
    fn joined(&self) -> String {
        let words = self.of_command("argv[]=").split_whitespace();
        let words = self.with_program(words.map(str::to_owned).collect());
        words.join(" ")
    }

    /// With `@`, the first word is only the name that the program is given.
    fn with_program(&self, mut words: Vec<String>) -> Vec<String> {
        let program = self.of_command("path=");
        if let Some(first) = words.first_mut().filter(|_| !program.is_empty()) {
            program.clone_into(first);
        }
        words
    }

    /// A part of what `systemctl` says of the first command: `{ path=/bin/a ; argv[]=/bin/a b ; flags= ; … }`.
    fn of_command(&self, part: &str) -> &str {
        let extended = self.one("ExecStartEx");
        let commands = match extended.is_empty() {
            true => self.one("ExecStart"),
            false => extended,
        };
        let first = commands.lines().next().unwrap_or_default();
        // Arguments may hold the name of a part behind them.
        let found = match part {
            "flags=" => first.rsplit_once(" ; flags="),
            _ => first.split_once(part),
        };
        let (_, value) = found.unwrap_or_default();
        value.split(" ; ").next().unwrap_or_default().trim()
    }

    /// The package's program starts it.
    pub(super) fn is_packaged(&self) -> bool {
        self.of_command("path=") == PACKAGED
    }

    /// The words of the command that runs in the end.
    fn resolved(&self) -> Vec<OsString> {
        let words = match &self.words {
            Some(words) => words.clone(),
            None => self
                .joined()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        };
        let words = match self.replaces_variables() {
            true => variables::replaced(&words, &self.variables),
            false => words,
        };
        packaged::resolved(words.into_iter().map(Into::into).collect())
    }

    /// The program and its arguments, and what udco has to do with it.
    pub(super) fn words(&self) -> (Vec<OsString>, Way) {
        let all = self.resolved();
        let (words, way) = without_udco(&all);
        let preloaded = self.variables.get("LD_PRELOAD");
        let is_preloaded = preloaded.is_some_and(|it| it.contains("libudco_preload.so"));
        let way = match way {
            Way::Plain if is_preloaded => Way::Preload,
            way => way,
        };
        (words.to_vec(), way)
    }

    /// The shared engine that it is to use.
    pub(super) fn engine(&self) -> Option<PathBuf> {
        let all = self.resolved();
        let (words, way) = without_udco(&all);
        let ours = all.get(..all.len() - words.len())?;
        match way {
            Way::Run => engine(ours),
            _ => self.variables.get(SOCKET_VARIABLE).map(Into::into),
        }
    }

    /// Options that udco refuses, of the package's settings or of its own command.
    pub(super) fn refused(&self) -> Vec<RefusedOptions> {
        let all = self.resolved();
        let (_, way) = without_udco(&all);
        if self.is_packaged() {
            return refused::in_settings(&packaged::values(), way == Way::Run);
        }
        let at = all.iter().position(is_udco).filter(|_| way == Way::Run);
        let command = at.and_then(|at| refused::in_command(all.get(at..)?));
        command.into_iter().collect()
    }

    /// What of the package's settings has no effect, if they concern it.
    pub(super) fn ignored(&self) -> Vec<Ignored> {
        if !self.is_packaged() {
            return Vec::new();
        }
        let mut found = packaged::ignored();
        found.extend(packaged::misplaced(&self.variables, &packaged::values()));
        found
    }

    pub(super) fn unusable(&self) -> Vec<NamedFile> {
        self.unusable.clone()
    }

    pub(super) fn directory(&self) -> PathBuf {
        // `!/path` may be missing, `~` is the user's home.
        let path = self.one("WorkingDirectory").trim_start_matches('!');
        let known = Some(path).filter(|path| path.starts_with('/'));
        known.unwrap_or("/").into()
    }

    pub(super) fn limits(&self) -> Limits {
        let number = |name: &str| {
            let value = self.one(name).parse::<u64>().ok();
            value.filter(|value| *value != u64::MAX)
        };
        Limits {
            open_files: number("LimitNOFILESoft"),
            processes: number("LimitNPROCSoft")
                .filter(|_| !machine::is_exempt(self.identity().uid)),
            tasks: number("TasksMax"),
            memory: machine::memory(number("LimitASSoft"), number("LimitDATASoft")),
            cores: machine::cores(),
        }
    }

    pub(super) fn loaded(&self) -> Loaded {
        let main = self.one("MainPID").parse().ok().filter(|pid| *pid != 0);
        Loaded {
            command: self.command(),
            prefixes: self.prefixes(),
            is_exact: self.words.is_some(),
            main,
            denies_tun: self.denies_tun(),
            denied_families: self.denied_families(),
        }
    }

    fn denies_tun(&self) -> bool {
        let allowed = self.one("DeviceAllow");
        let names_tun = allowed.contains("/dev/net/tun") || allowed.contains("char-misc");
        let is_closed = matches!(self.one("DevicePolicy"), "closed" | "strict");
        let is_listed = !allowed.is_empty() || is_closed || self.one("PrivateDevices") == "yes";
        is_listed && !names_tun
    }

    fn denied_families(&self) -> Vec<&'static str> {
        // A filter of system calls, unlike devices, which the whole control group is denied.
        if self.is_privileged() {
            return Vec::new();
        }
        let list = self.one("RestrictAddressFamilies");
        let (list, is_forbidden) = match list.strip_prefix('~') {
            Some(list) => (list, true),
            None => (list, false),
        };
        let names: Vec<_> = list.split_whitespace().collect();
        if names.is_empty() {
            return Vec::new();
        }
        let is_denied = |family: &&str| names.contains(family) == is_forbidden;
        FAMILIES.into_iter().filter(is_denied).collect()
    }
}

#[cfg(test)]
mod tests;
