//! What another program answers: in time, and not more than is read.

use std::io::{self, ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// More than systemd says about any unit.
const LONGEST: u64 = 1 << 20;

/// How often to look whether the program has ended.
const STEP: Duration = Duration::from_millis(5);

/// What a program has printed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) is_success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a program to its end, and kills it if that takes longer than `patience`.
///
/// # Errors
/// `TimedOut`, or why it does not start.
pub(super) fn of(command: &mut Command, patience: Duration) -> io::Result<Answer> {
    let end = Instant::now() + patience;
    let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::piped()).spawn()?;
    let outcome = finish(&mut child, end);
    if outcome.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    outcome
}

fn finish(child: &mut Child, end: Instant) -> io::Result<Answer> {
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let late = || io::Error::from(ErrorKind::TimedOut);
    let text = |from: &Receiver<Vec<u8>>| {
        let left = end.saturating_duration_since(Instant::now());
        let bytes = from.recv_timeout(left).map_err(|_| late())?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (stdout, stderr) = (text(&stdout)?, text(&stderr)?);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Answer {
                is_success: status.success(),
                stdout,
                stderr,
            });
        }
        if Instant::now() > end {
            return Err(late());
        }
        thread::sleep(STEP);
    }
}

/// Reads in a thread of its own: what the program has started may keep the pipe open for ever.
fn read(from: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    let all = move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            let _ = from.take(LONGEST).read_to_end(&mut bytes);
        }
        let _ = send.send(bytes);
    };
    let _ = thread::Builder::new().spawn(all);
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(script: &str, patience: u64) -> io::Result<Answer> {
        let mut shell = Command::new("sh");
        of(shell.args(["-c", script]), Duration::from_millis(patience))
    }

    #[test]
    fn a_program_that_ends_is_heard() {
        let answer = answer("echo a=b; echo no >&2; exit 3", 10_000).unwrap();
        assert_eq!(
            (answer.stdout.as_str(), answer.is_success),
            ("a=b\n", false)
        );
        assert_eq!(answer.stderr, "no\n");
    }

    #[test]
    fn one_that_does_not_end_is_given_up() {
        let begin = Instant::now();
        for script in ["sleep 60", "sleep 5 & echo a", "exec 1>&- 2>&-; sleep 60"] {
            let failed = answer(script, 50).unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::TimedOut, "{script}");
        }
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn one_that_prints_without_end_is_cut_off() {
        let answer = answer("yes", 10_000).unwrap();
        assert_eq!(answer.stdout.len() as u64, LONGEST);
    }
}
