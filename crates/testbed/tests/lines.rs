//! Log lines that cannot be written are lost, and nothing else is (faults B1).

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use udco_testbed::{eventually, udco};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Exit code of a Rust program that panics.
const PANIC: i32 = 101;

/// Log lines to cause with `--verbose`: more than the smallest pipe holds.
const LINES: usize = 150;

/// A directory and a daemon in it. Both end with the test.
struct Daemon {
    directory: PathBuf,
    process: Child,
}

impl Daemon {
    fn start(name: &str, stderr: Stdio) -> Result<Self> {
        let name = format!("udco-lines-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory)?;
        let mut daemon = Command::new(udco::binary()?);
        daemon.args(["daemon", "--verbose", "--workers", "1", "--socket"]);
        daemon.arg(directory.join("engine.sock"));
        let process = daemon.stdin(Stdio::null()).stderr(stderr).spawn()?;
        let daemon = Self { directory, process };
        daemon.wait_until_served()?;
        Ok(daemon)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("engine.sock")
    }

    fn wait_until_served(&self) -> Result<()> {
        eventually("the daemon to serve", SOON, || {
            Ok(show(&self.socket())?.status.success().then_some(()))
        })
    }

    /// Makes the engine log lines, and checks that it serves each client that caused one.
    fn write_lines(&self) -> Result<()> {
        (0..LINES).try_for_each(|at| {
            let shown = show(&self.socket())?;
            ensure!(shown.status.success(), "line {at}: {shown:?}");
            Ok(())
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn show(socket: &Path) -> Result<Output> {
    // An engine that is stuck in a write does not answer.
    let mut show = Command::new("timeout");
    show.arg("10").arg(udco::binary()?);
    show.args(["show", "--engine"]).arg(socket);
    Ok(show.output()?)
}

/// A pipe that fills up quickly.
fn pipe() -> Result<(File, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&writer, 4096)?;
    Ok((reader.into(), writer))
}

#[test]
fn an_engine_outlives_the_reader_of_its_lines() -> Result<()> {
    let (reader, writer) = pipe()?;
    let daemon = Daemon::start("gone", writer.into())?;
    drop(reader);
    daemon.write_lines()
}

#[test]
fn an_engine_waits_for_no_reader_and_says_what_it_missed() -> Result<()> {
    let (mut reader, writer) = pipe()?;
    let daemon = Daemon::start("full", writer.into())?;
    daemon.write_lines()?;
    let mut text = String::new();
    eventually("the number of lost lines", SOON, || {
        let mut some = [0; 4096];
        let len = reader.read(&mut some)?;
        text.push_str(&String::from_utf8_lossy(&some[..len]));
        show(&daemon.socket())?;
        Ok(text.contains(" lines lost").then_some(()))
    })
}

#[test]
fn an_engine_outlives_a_full_disk() -> Result<()> {
    let full = File::options().write(true).open("/dev/full")?;
    Daemon::start("disk", full.into())?.write_lines()
}

#[test]
fn no_file_takes_the_place_of_a_closed_standard_error() -> Result<()> {
    let binary = udco::binary()?;
    let directory = std::env::temp_dir().join(format!("udco-lines-none-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let process = Command::new("sh")
        .args([
            "-c",
            "exec \"$0\" daemon --verbose --workers 1 --socket \"$1\" 0<&- 1>&- 2>&-",
        ])
        .arg(binary)
        .arg(directory.join("engine.sock"))
        .spawn()?;
    let daemon = Daemon { directory, process };
    daemon.wait_until_served()?;
    daemon.write_lines()?;
    for number in 0..=2 {
        let file = std::fs::read_link(format!("/proc/{}/fd/{number}", daemon.process.id()))?;
        ensure!(
            file == Path::new("/dev/null"),
            "{number} is {}",
            file.display()
        );
    }
    Ok(())
}

/// Commands that print something.
fn printing(socket: &str) -> Vec<Vec<&str>> {
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    let asking = |line| [words(line), vec!["--engine", socket]].concat();
    vec![
        words("--help"),
        words("--version"),
        words("run --help"),
        words("key generate"),
        asking("show"),
        asking("show --json"),
        asking("link show"),
        asking("link show --json"),
        asking("monitor"),
        asking("monitor --json"),
    ]
}

#[test]
fn commands_end_quietly_without_a_reader_and_report_a_full_disk() -> Result<()> {
    let daemon = Daemon::start("commands", Stdio::null())?;
    let socket = daemon.socket();
    for words in printing(socket.to_str().context("a path that is not UTF-8")?) {
        let run = |stdout: Stdio| -> Result<(i32, String)> {
            let mut command = Command::new("timeout");
            command.arg("10").arg(udco::binary()?).args(&words);
            let output = command.stdin(Stdio::null()).stdout(stdout).output()?;
            let status = output.status;
            let code = status.code().or_else(|| status.signal()).unwrap_or(PANIC);
            Ok((code, String::from_utf8_lossy(&output.stderr).into_owned()))
        };
        let (reader, writer) = pipe()?;
        drop(reader);
        let (code, printed) = run(writer.into())?;
        ensure!(
            code == 0 && printed.is_empty(),
            "{words:?}: {code} {printed}"
        );
        let full = File::options().write(true).open("/dev/full")?;
        let (code, printed) = run(full.into())?;
        let is_printed = printed.starts_with("udco: ") && printed.contains("No space left");
        ensure!(code == 1 && is_printed, "{words:?}: {code} {printed}");
    }
    // Also where the error message has no reader.
    let mut command = Command::new(udco::binary()?);
    command.args(["show", "--engine", "/nowhere/engine.sock"]);
    let (reader, writer) = pipe()?;
    drop(reader);
    let code = command.stderr(writer).status()?.code();
    ensure!(code == Some(3), "{code:?}");
    Ok(())
}

#[test]
fn a_monitor_ends_with_its_reader() -> Result<()> {
    let daemon = Daemon::start("monitor", Stdio::null())?;
    let output = Command::new("timeout")
        .args(["10", "sh", "-c", "\"$0\" monitor --engine \"$1\" | head -1"])
        .arg(udco::binary()?)
        .arg(daemon.socket())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && text.contains("Z listening to the engine"),
        "{output:?}"
    );
    Ok(())
}
