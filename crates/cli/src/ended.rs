//! SIGINT and SIGTERM for commands that end in order: they look for them between their writes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::exit;
use std::thread;
use std::time::Duration;

use udco_sys::signal::Termination;

use crate::client::wait;
use crate::exit::FAILED;
use crate::output::complain;

/// How long a command may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Catches both signals. A command that does not end in time waits in a write for a reader that does not read: it ends
/// nevertheless. Call it before there are other threads.
///
/// # Errors
/// The system's.
pub(crate) fn catch() -> io::Result<Termination> {
    let termination = Termination::catch()?;
    insist(termination.as_fd().try_clone_to_owned()?, PATIENCE);
    Ok(termination)
}

/// Ends this process in a while, once there is a signal.
fn insist(signals: OwnedFd, patience: Duration) {
    let end = move || {
        while !wait(&[signals.as_fd()], None).is_ok_and(|ready| ready.contains(&true)) {}
        thread::sleep(patience);
        complain!("ended by a signal, before all was written: nobody reads it");
        exit(FAILED.into());
    };
    // Without the thread, it takes SIGKILL.
    let _ = thread::Builder::new().spawn(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::again;

    /// Makes a second run of this test get stuck.
    const STUCK: &str = "UDCO_TEST_STUCK";

    #[test]
    fn a_command_that_is_stuck_ends() {
        if std::env::var_os(STUCK).is_some() {
            // As readable as signals that have arrived.
            let (signals, arrived) = rustix::pipe::pipe().unwrap();
            insist(signals, Duration::from_millis(50));
            rustix::io::write(&arrived, b"!").unwrap();
            thread::sleep(Duration::from_secs(60));
            return;
        }
        let name = "ended::tests::a_command_that_is_stuck_ends";
        let output = again::command(name, STUCK).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(FAILED.into()), "{said}");
        assert!(said.contains("ended by a signal"), "{said}");
    }
}
