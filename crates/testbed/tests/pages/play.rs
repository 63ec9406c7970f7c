//! Plays the commands on hosts of a lab, in the order of the table.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::{Host, Lab, Process, eventually, udco};

use crate::command::{Command, How, On};
use crate::commands::COMMANDS;

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);

const COMPLETED: &str = "Initialization Sequence Completed";

/// What the page has in place of fingerprints.
const FINGERPRINTS: [(&str, On); 2] = [
    ("CLIENT-FINGERPRINT", On::Client),
    ("SERVER-FINGERPRINT", On::Server),
];

/// The hosts, and what has happened on them.
struct Play<'a> {
    lab: Lab,
    hosts: BTreeMap<On, Host>,
    /// Where each of them is.
    directories: BTreeMap<On, String>,
    fingerprints: BTreeMap<On, String>,
    quick_start: &'a str,
    running: Vec<Process>,
}

/// Plays all.
pub(super) fn all(pages: &BTreeMap<String, String>) -> Result<()> {
    let quick_start = pages.get("docs/quick-start.md").context("no quick start")?;
    let mut play = Play::new(quick_start)?;
    for command in COMMANDS {
        let what = || format!("{}: `{}`", command.page, command.words);
        play.play(command).with_context(what)?;
    }
    play.lab.discard_logs();
    Ok(())
}

impl<'a> Play<'a> {
    fn new(quick_start: &'a str) -> Result<Self> {
        let lab = Lab::new()?;
        let names = [
            (On::Server, "server"),
            (On::Client, "client"),
            (On::Shared, "shared"),
        ];
        let mut hosts = BTreeMap::new();
        for (on, name) in names {
            let host = lab.host(name)?;
            // What packages and the quick start have there.
            for directory in ["/etc/openvpn", "/var/lib"] {
                host.run(&["mount", "-t", "tmpfs", "tmpfs", directory])?;
            }
            host.run(&[
                "mkdir",
                "-p",
                "/etc/openvpn/server",
                "/etc/openvpn/client",
                "/var/lib/prometheus/node-exporter",
            ])?;
            hosts.insert(on, host);
        }
        let (server, client) = (&hosts[&On::Server], &hosts[&On::Client]);
        lab.link(server, &["192.0.2.1/24"], client, &["192.0.2.2/24"])?;
        let here = lab.directory().to_str().context("not UTF-8")?.to_owned();
        Ok(Self {
            directories: hosts.keys().map(|on| (*on, here.clone())).collect(),
            lab,
            hosts,
            fingerprints: BTreeMap::new(),
            quick_start,
            running: Vec::new(),
        })
    }

    fn play(&mut self, command: &Command) -> Result<()> {
        match command.how {
            How::Runs(on, codes, text) => match command.words.strip_prefix("cd ") {
                Some(directory) => {
                    self.hosts[&on].run(&["test", "-d", directory])?;
                    self.directories.insert(on, directory.to_owned());
                    Ok(())
                }
                None => self.run(on, command.words, codes, text),
            },
            How::Stays(on, text) => self.start(on, command.words, &[text]),
            How::Writes(on, file) => {
                self.start(on, command.words, &[])?;
                let host = &self.hosts[&on];
                eventually(file, SOON, || {
                    let written = host.output(&["test", "-s", file])?;
                    Ok(written.status.success().then_some(()))
                })
            }
            How::Unit(on, directory, configuration) => {
                if self.running.is_empty() {
                    self.configure()?;
                }
                self.directories.insert(on, directory.to_owned());
                let words = format!("udco run -- openvpn --config {configuration}");
                self.start(on, &words, &["data channel offload active", COMPLETED])
            }
            How::Elsewhere(..) | How::Not(_) => Ok(()),
        }
    }

    fn run(&mut self, on: On, words: &str, codes: &[i32], text: &str) -> Result<()> {
        let output = self.hosts[&on].output(&["sh", "-c", &self.shell(on, words)?])?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let code = output.status.code().unwrap_or(-1);
        ensure!(
            codes.contains(&code) && printed.contains(text),
            "ended with {code} and printed: {printed}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        if let Some((_, fingerprint)) = printed.split_once("Fingerprint=") {
            self.fingerprints.insert(on, fingerprint.trim().to_owned());
        }
        Ok(())
    }

    /// Starts a process, and waits until it has printed these texts.
    fn start(&mut self, on: On, words: &str, texts: &[&str]) -> Result<()> {
        let words = words.strip_suffix(" &").unwrap_or(words);
        let shell = self.shell(on, &format!("exec {words}"))?;
        let log = format!("play-{}", self.running.len());
        let mut process = self.hosts[&on].spawn(&log, &["sh", "-c", &shell])?;
        for text in texts {
            process.wait_for_log(text, SOON)?;
        }
        self.running.push(process);
        Ok(())
    }

    /// A line as a user would type it where it is, with `udco` in the search path.
    fn shell(&self, on: On, line: &str) -> Result<String> {
        let binary = udco::binary()?;
        let programs = binary.parent().map(Path::display);
        let programs = programs.context("no directory")?;
        let here = &self.directories[&on];
        Ok(format!("cd {here} && PATH={programs}:$PATH && {line}"))
    }

    /// Writes the configurations of the quick start, and from them those of other pages.
    fn configure(&self) -> Result<()> {
        let server = self.configuration("server 10.8.0.0")?;
        let client = self.configuration("remote 192.0.2.1")?;
        self.install(On::Server, &server, "/etc/openvpn/server/office.conf")?;
        self.install(On::Client, &client, "/etc/openvpn/client/home.conf")?;
        let (server, client) = (second(&server, "server"), second(&client, "client"));
        self.install(On::Server, &server, "/etc/openvpn/server.conf")?;
        self.install(On::Client, &client, "/etc/openvpn/client.conf")?;
        self.install(On::Client, &client, "/etc/openvpn/client/client.conf")?;
        let here = self.lab.directory().to_str().context("not UTF-8")?;
        let copy = format!("cp /etc/openvpn/server/server.* {here}");
        self.hosts[&On::Server].run(&["sh", "-c", &copy])?;
        let shared = server.replace("/etc/openvpn/server/", &format!("{here}/"));
        fs::write(self.lab.directory().join("one.conf"), shared)?;
        Ok(())
    }

    /// The block of the page that has this line, with the other end's fingerprint.
    fn configuration(&self, line: &str) -> Result<String> {
        let mut blocks = self.quick_start.split("```text\n").skip(1);
        let block = blocks.find(|block| {
            block
                .split("```")
                .next()
                .is_some_and(|it| it.contains(line))
        });
        let block = block.and_then(|block| block.split("```").next());
        let mut text = block
            .with_context(|| format!("no block with {line}"))?
            .to_owned();
        for (name, on) in FINGERPRINTS {
            text = text.replace(name, self.fingerprints.get(&on).context("no fingerprint")?);
        }
        Ok(text)
    }

    fn install(&self, on: On, text: &str, path: &str) -> Result<()> {
        let file = self.lab.file("configuration")?;
        fs::write(&file, text)?;
        self.hosts[&on].run(&["cp", &file, path]).map(drop)
    }
}

/// The same tunnel with another device, port and network, whose files are found from everywhere.
fn second(text: &str, name: &str) -> String {
    text.replace("tun0", "tun1")
        .replace("1194", "1195")
        .replace("10.8.0", "10.9.0")
        .replace(
            &format!(" {name}."),
            &format!(" /etc/openvpn/{name}/{name}."),
        )
}
