//! OpenVPN's management interface, to check from outside that it works and does not merely exist.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::openvpn::Builder;

/// Where an OpenVPN listens for its one management client.
#[derive(Clone, Debug)]
pub struct Management {
    path: PathBuf,
}

impl Management {
    /// Makes `builder` listen at the file `name` in `directory`.
    pub fn enable(builder: Builder, directory: &Path, name: &str) -> (Builder, Self) {
        let path = directory.join(name);
        let line = format!("management {} unix", path.display());
        (builder.line(&line), Self { path })
    }

    /// Connects, sends a command, and returns the first line of the answer.
    ///
    /// # Errors
    /// If there is no answer within `timeout`, which means that OpenVPN's event loop is stuck, or if nothing listens.
    pub fn ask(&self, command: &str, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        let mut stream = UnixStream::connect(&self.path)
            .with_context(|| format!("nothing listens at {}", self.path.display()))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no answer to `{command}` within {timeout:?}");
            }
            reader.get_ref().set_read_timeout(Some(left))?;
            match reader.read_line(&mut line) {
                Ok(0) => bail!("hung up before it answered `{command}`"),
                // Greetings and asynchronous messages.
                Ok(_) if line.starts_with('>') => line.clear(),
                Ok(_) => return Ok(line.trim_end().to_owned()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How many client instances a server has: `nclients` of `load-stats`.
    ///
    /// # Errors
    /// As [`Management::ask`], or if the answer has another format.
    pub fn clients(&self, timeout: Duration) -> Result<u32> {
        let answer = self.ask("load-stats", timeout)?;
        let number = answer
            .strip_prefix("SUCCESS: nclients=")
            .and_then(|rest| rest.split(',').next()?.parse().ok());
        number.with_context(|| format!("`load-stats` answered {answer}"))
    }
}
