//! What systemd says of a unit.

mod user;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use udco_ipc::SOCKET_VARIABLE;

use super::answer;
use super::exec_start;
use super::launch::{engine, without_udco};
use super::machine;
use super::packaged;
use crate::doctor::facts::{Limits, Loaded, Unit, Way};

/// The address families that OpenVPN and its engine need.
const FAMILIES: [&str; 3] = ["AF_UNIX", "AF_NETLINK", "AF_INET"];

/// How long systemd may take. systemctl itself gives up sooner if only the bus is silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to ask for.
const PROPERTIES: &str = "Id,LoadState,MainPID,ExecStart,WorkingDirectory,User,Group,DynamicUser,SupplementaryGroups,\
    RuntimeDirectory,StateDirectory,CacheDirectory,LogsDirectory,Environment,LimitNOFILESoft,LimitNPROCSoft,TasksMax,\
    CapabilityBoundingSet,AmbientCapabilities,PrivateDevices,DevicePolicy,DeviceAllow,RestrictAddressFamilies";

pub(super) enum Answer {
    Loaded(Properties),
    /// Nothing to go on.
    None(Unit),
}

/// What is known of a unit.
pub(super) struct Properties {
    /// By their names; what is given several times is joined by line feeds.
    all: BTreeMap<String, String>,
    /// The words of its command; `None` where only `systemctl` says, which joins them with spaces.
    words: Option<Vec<String>>,
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
    properties.words = exec_start::words(properties.one("Id"), PATIENCE);
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
        Self { all, words: None }
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
        let first = self.one("ExecStart").lines().next().unwrap_or_default();
        let words = first.split_once("argv[]=").map_or("", |(_, rest)| rest);
        let end = words.find(" ; ").unwrap_or(words.len());
        words.get(..end).unwrap_or_default().trim().to_owned()
    }

    /// The words of the command that runs in the end.
    fn resolved(&self) -> Vec<OsString> {
        packaged::resolved(match &self.words {
            Some(words) => words.iter().map(Into::into).collect(),
            None => self.joined().split_whitespace().map(Into::into).collect(),
        })
    }

    /// The program and its arguments, and what udco has to do with it.
    pub(super) fn words(&self) -> (Vec<OsString>, Way) {
        let all = self.resolved();
        let (words, way) = without_udco(&all);
        let is_preloaded = self.one("Environment").contains("libudco_preload.so");
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
        let mut variables = self.one("Environment").split_whitespace();
        match way {
            Way::Run => engine(ours),
            _ => variables.find_map(|it| {
                let value = it.strip_prefix(SOCKET_VARIABLE)?.strip_prefix('=')?;
                Some(value.into())
            }),
        }
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
            cores: machine::cores(),
        }
    }

    pub(super) fn loaded(&self) -> Loaded {
        let main = self.one("MainPID").parse().ok().filter(|pid| *pid != 0);
        Loaded {
            command: self.command(),
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
mod tests {
    use super::*;

    const DEBIAN: &str = "LoadState=loaded\nMainPID=712\nExecStart={ path=/usr/sbin/openvpn ; argv[]=/usr/sbin/openvpn \
        --status /run/openvpn-server/status-office.log --config office.conf ; ignore_errors=no ; pid=712 }\n\
        WorkingDirectory=/etc/openvpn/server\nUser=\nEnvironment=\nLimitNOFILESoft=1024\nLimitNPROCSoft=10\nTasksMax=infinity\n\
        CapabilityBoundingSet=cap_net_admin cap_setgid cap_setuid\nAmbientCapabilities=\nPrivateDevices=no\n\
        DevicePolicy=auto\nDeviceAllow=/dev/null rw\nDeviceAllow=/dev/net/tun rw\nRestrictAddressFamilies=\n";

    #[test]
    fn what_systemctl_prints_is_read() {
        let unit = Properties::of(DEBIAN);
        let (words, way) = unit.words();
        assert_eq!(words.last().unwrap(), "office.conf");
        assert_eq!(words.len(), 5);
        assert_eq!(way, Way::Plain);
        assert_eq!(unit.directory(), PathBuf::from("/etc/openvpn/server"));
        let starter = unit.starter();
        let rights = starter.rights.unwrap();
        assert!(starter.is_root && rights.net_admin && !rights.setpcap);
        let limits = unit.limits();
        assert_eq!((limits.open_files, limits.tasks), (Some(1024), None));
        let is_exempt = machine::is_exempt(0);
        assert_eq!(limits.processes, Some(10).filter(|_| !is_exempt));
        let loaded = unit.loaded();
        assert_eq!(loaded.main, Some(712));
        assert!(!loaded.denies_tun && loaded.denied_families.is_empty());
    }

    #[test]
    fn udco_is_seen_in_the_command_or_in_the_environment() {
        let of = |line: &str| Properties::of(line).words().1;
        assert_eq!(
            of("ExecStart={ argv[]=/bin/udco run -- openvpn a ; x }"),
            Way::Run
        );
        assert_eq!(
            of(
                "ExecStart={ argv[]=openvpn a ; x }\nEnvironment=LD_PRELOAD=/usr/lib/udco/libudco_preload.so"
            ),
            Way::Preload
        );
    }

    #[test]
    fn words_of_the_bus_are_preferred() {
        let mut unit = Properties::of(DEBIAN);
        let command = [
            "/bin/udco",
            "run",
            "--",
            "openvpn",
            "--config",
            "my office.conf",
        ];
        unit.words = Some(command.map(Into::into).to_vec());
        let (words, way) = unit.words();
        assert_eq!(
            (words.last().unwrap().to_str(), way),
            (Some("my office.conf"), Way::Run)
        );
        let loaded = unit.loaded();
        assert!(
            loaded.is_exact && loaded.command.ends_with("\"my office.conf\""),
            "{loaded:?}"
        );
    }

    #[test]
    fn a_shared_engine_is_found() {
        let of = |line: &str| Properties::of(line).engine();
        let socket = Some(PathBuf::from("/run/udco/engine.sock"));
        let run =
            "ExecStart={ argv[]=udco run --engine /run/udco/engine.sock -- openvpn --engine x ; }";
        assert_eq!(of(run), socket);
        let variables =
            "ExecStart={ argv[]=openvpn a ; }\nEnvironment=A=1 UDCO_SOCKET=/run/udco/engine.sock";
        assert_eq!(of(variables), socket);
        assert_eq!(of("ExecStart={ argv[]=openvpn --engine dynamic ; }"), None);
    }

    #[test]
    fn a_sandbox_is_looked_through() {
        for (text, denies, families) in [
            ("PrivateDevices=yes", true, 0),
            ("DevicePolicy=closed", true, 0),
            ("DeviceAllow=/dev/null rw", true, 0),
            ("PrivateDevices=yes\nDeviceAllow=/dev/net/tun rw", false, 0),
            ("RestrictAddressFamilies=AF_INET AF_INET6", false, 2),
            ("RestrictAddressFamilies=~AF_NETLINK", false, 1),
            ("RestrictAddressFamilies=~AF_PACKET", false, 0),
        ] {
            let loaded = Properties::of(text).loaded();
            assert_eq!(loaded.denies_tun, denies, "{text}");
            assert_eq!(loaded.denied_families.len(), families, "{text}");
        }
    }
}
