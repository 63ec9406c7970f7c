//! `udco key generate`: random keys for both ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use zeroize::Zeroizing;

use super::base64;
use crate::output::{self, unwritable};

/// Key A, key B and the nonce tail.
const BYTES: usize = 32 + 32 + 8;

/// Writes a pair of keys to a new file, or to standard output.
pub(super) fn run(path: Option<&Path>) -> Result<()> {
    let _ = udco_sys::process::forbid_core_dumps();
    let mut bytes = Zeroizing::new([0; BYTES]);
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut *bytes));
    random.context("cannot read /dev/urandom")?;
    let line = base64::encode(&*bytes);
    match path {
        Some(path) => {
            let mut options = File::options();
            let file = options.write(true).create_new(true).mode(0o600).open(path);
            let file = file.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => anyhow!(
                    "{} is there already, and may hold a key in use: choose another name",
                    path.display()
                ),
                _ => output::refused("create", path, error),
            })?;
            let written = write(file, &line).inspect_err(|_| {
                // A part of a key would only be in the way of the next try.
                let _ = std::fs::remove_file(path);
            });
            written.map_err(|error| unwritable(path, error))
        }
        // Bypass the standard library's buffer, which would not be wiped.
        None => {
            let stdout = rustix::stdio::stdout().try_clone_to_owned()?;
            output::explain(write(File::from(stdout), &line))
        }
    }
}

fn write(mut file: File, line: &str) -> io::Result<()> {
    file.write_all(line.as_bytes())?;
    file.write_all(b"\n")
}
