//! Our parser of OpenVPN's configuration against OpenVPN: both read the same words from the same lines (faults E5).

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_options::{Reading, read};
use udco_testbed::{Lab, Pki, Version, eventually};

/// How many lines OpenVPN keeps for its management interface.
const ECHOES: usize = 100;

const BY_HAND: &[&str] = &[
    "plain a b",
    "  \t indented\ttab ",
    "\"a b\" c\\ d 'e \"f' \"g\\\"h\" 'i\\j' k\\\\l",
    "x # comment",
    "y ; comment",
    "z#no ;c",
    "ab\"cd\"ef 'x'y",
    "\"\" '' end",
    "x \"a\"b c",
    "'it\\' s' x",
    "\\;g",
    "\\ b",
    "trailing \\",
    "\"a\"#b",
    "one 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18",
    "carriage return\r",
    "--dashes - -- ---",
    "<ca>",
    "<ca> </ca>",
    "\"quoted\\ blank\"",
];

const REFUSED: &[&str] = &["\"x", "'x", "\\x", "e\\#f", "\"a\\nb\"", "\\'", "a \"b\\"];

#[test]
fn the_reader_takes_the_words_that_openvpn_takes() -> Result<()> {
    let lab = lab()?;
    for version in [Version::V26, Version::V27] {
        if !version.is_here_or_skip() {
            continue;
        }
        let by_hand = BY_HAND.iter().map(|line| format!("echo {line}")).collect();
        same(&lab, version, by_hand)?;
        let mut dice = 0x5eed_u64;
        let (mut good, mut refused) = (Vec::new(), 0);
        while good.len() < 5 * ECHOES {
            let line = random_line(&mut dice);
            if read_here(&lab, &line)?.problems.is_empty() {
                good.push(line);
            } else if refused < 20 {
                refused += 1;
                is_refused(&lab, version, &line)?;
            }
        }
        for lines in good.chunks(ECHOES) {
            same(&lab, version, lines.to_vec())?;
        }
        for line in REFUSED {
            is_refused(&lab, version, &format!("echo {line}"))?;
        }
        for (length, end) in [(249, "\n"), (250, "")] {
            let longest = format!("echo {}{end}", "x".repeat(length));
            same(&lab, version, vec![longest.clone()])?;
            is_refused(&lab, version, &longest.replace("echo", "echo "))?;
        }
    }
    Ok(())
}

/// An included file, blocks, and the command line: in the same order.
#[test]
fn the_reader_follows_files_as_openvpn_does() -> Result<()> {
    let lab = lab()?;
    let directory = lab.directory().join("sub");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("b"), "\u{feff}echo in b\r\n")?;
    std::fs::write(lab.directory().join("b"), "echo in the other b")?;
    let lines = [
        "echo first",
        "config b",
        "cd sub",
        "--config b",
        "<extra-certs>",
        "echo inside",
        "  </extra-certs> rest",
        "<connection>",
        "remote 127.0.0.1 9 udp4",
        "# echo x",
        "</connection>",
        "setenv opt echo by setenv",
        "setenv opt nosuchoption",
        "setenv-safe opt echo",
        "echo last",
    ];
    for version in [Version::V26, Version::V27] {
        if version.is_here_or_skip() {
            same(&lab, version, lines.map(str::to_owned).to_vec())?;
        }
    }
    Ok(())
}

/// A directory with a certificate.
fn lab() -> Result<Lab> {
    let lab = Lab::new()?;
    let credentials = Pki::new(lab.directory())?.client("reader")?;
    for (from, to) in [
        (&credentials.authority, "ca.crt"),
        (&credentials.certificate, "reader.crt"),
        (&credentials.key, "reader.key"),
    ] {
        let to = lab.directory().join(to);
        if *from != to {
            std::fs::copy(from, to)?;
        }
    }
    Ok(lab)
}

/// Compares the words of `echo` in a file with these lines.
fn same(lab: &Lab, version: Version, lines: Vec<String>) -> Result<()> {
    let reading = read_here(lab, &lines.join("\n"))?;
    ensure!(reading.problems.is_empty(), "{:?}", reading.problems);
    let echoes = reading.settings.iter().filter(|it| it.name == "echo");
    let ours: Vec<String> = echoes
        .map(|echo| {
            let words: Vec<_> = echo
                .arguments
                .iter()
                .map(|it| it.to_string_lossy())
                .collect();
            words.join(" ")
        })
        .collect();
    let openvpns = echoed(lab, version)?;
    for (index, (ours, openvpns)) in ours.iter().zip(&openvpns).enumerate() {
        ensure!(
            ours == openvpns,
            "{version:?}, echo {index}: {ours:?} here, {openvpns:?} there"
        );
    }
    ensure!(
        ours.len() == openvpns.len(),
        "{version:?}: {ours:?} {openvpns:?}"
    );
    Ok(())
}

fn is_refused(lab: &Lab, version: Version, line: &str) -> Result<()> {
    let reading = read_here(lab, line)?;
    ensure!(!reading.problems.is_empty(), "taken here: {line:?}");
    let mut process = Ended(openvpn(lab, version)?);
    let what = format!("{version:?} to refuse {line:?}");
    let status = eventually(&what, Duration::from_secs(10), || {
        Ok(process.0.try_wait()?)
    })?;
    ensure!(!status.success(), "{version:?} takes {line:?}");
    Ok(())
}

fn file(lab: &Lab) -> PathBuf {
    lab.directory().join("echo.conf")
}

/// Writes the file, and parses it as `udco run` would.
fn read_here(lab: &Lab, text: &str) -> Result<Reading> {
    std::fs::write(file(lab), text)?;
    let arguments: [OsString; 2] = ["--config".into(), file(lab).into()];
    let open = |path: &Path| std::fs::read(path).map_err(|error| error.to_string());
    Ok(read(&arguments, lab.directory(), open))
}

/// The words of `echo`, as OpenVPN's management interface reports them.
fn echoed(lab: &Lab, version: Version) -> Result<Vec<String>> {
    let socket = lab.directory().join("management");
    let _ = std::fs::remove_file(&socket);
    let mut process = Ended(openvpn(lab, version)?);
    let stream = eventually("the management interface", Duration::from_secs(10), || {
        let ended = process.0.try_wait()?;
        ensure!(ended.is_none(), "{version:?} refuses the file");
        Ok(UnixStream::connect(&socket).ok())
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    (&stream).write_all(b"echo all\n")?;
    let mut answer = Vec::new();
    let mut stream = BufReader::new(stream);
    while !answer.ends_with(b"END\r\n") {
        let length = stream.read_until(b'\n', &mut answer)?;
        ensure!(length > 0, "no END");
    }
    let answer = String::from_utf8(answer)?;
    let lines = answer.split("\r\n").filter(|line| !line.starts_with('>'));
    // A timestamp, then the words, which may contain a line break.
    let echoes = lines.filter_map(|line| line.split_once(','));
    Ok(echoes.map(|(_, echo)| echo.to_owned()).collect())
}

/// An OpenVPN without a device that waits for its management interface.
fn openvpn(lab: &Lab, version: Version) -> Result<Child> {
    let words = version.command()?;
    let (program, rest) = words.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(rest).current_dir(lab.directory());
    command.args([
        "--dev",
        "null",
        "--client",
        "--nobind",
        "--remote",
        "127.0.0.1",
    ]);
    for (option, name) in [
        ("--ca", "ca.crt"),
        ("--cert", "reader.crt"),
        ("--key", "reader.key"),
    ] {
        command.arg(option).arg(lab.directory().join(name));
    }
    command.arg("--management-hold");
    command
        .arg("--management")
        .arg(lab.directory().join("management"));
    command.args(["unix", "--config"]);
    command
        .arg(file(lab))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    Ok(command.spawn()?)
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Words, quotation marks, backslashes and comments in any order.
fn random_line(dice: &mut u64) -> String {
    let mut line = "echo ".to_owned();
    for _ in 0..throw(dice) % 24 {
        let pieces = [
            "a", "b", " ", "\t", "\"", "'", "\\\\", "\\ ", "\\\"", "\"x y\" ", "' z'", "#", ";",
            "-",
        ];
        let rare = ["\\", "<", "\r"];
        line += match throw(dice) % 40 {
            0 => rare[throw(dice) as usize % rare.len()],
            _ => pieces[throw(dice) as usize % pieces.len()],
        };
    }
    line
}

fn throw(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice >> 11
}
