//! Which OpenVPN an endpoint runs: the machine's own, or a 2.7 that was unpacked beside it with its own libraries.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::wait::skip;

/// Names the directory with an unpacked OpenVPN 2.7.
const VARIABLE: &str = "UDCO_OPENVPN27";

/// The default name of that directory, below the target directory.
const DIRECTORY: &str = "openvpn-2.7";

/// An OpenVPN release series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// The machine's own: 2.6, family `ovpn-dco-v2`.
    #[default]
    V26,
    /// Debian's 2.7, as `cargo xtask openvpn27` unpacks it: family `ovpn`.
    V27,
}

impl Version {
    /// True if it can be run; otherwise reports that the scenario is left out.
    pub fn is_here_or_skip(self) -> bool {
        let command = self.command();
        if let Err(error) = &command {
            skip(&format!("{error:#}"));
        }
        command.is_ok()
    }

    /// The command that starts it: the program, or its own dynamic loader with the program as an argument.
    ///
    /// # Errors
    /// If it is missing, with the remedy.
    pub fn command(self) -> Result<Vec<OsString>> {
        match self {
            Self::V26 => Ok(vec!["openvpn".into()]),
            Self::V27 => {
                let root = root().context("no OpenVPN 2.7; cure: `cargo xtask openvpn27`")?;
                unpacked(&root).with_context(|| format!("no OpenVPN below {}/usr", root.display()))
            }
        }
    }
}

/// The command that starts an OpenVPN unpacked below `root`, with the libraries there and not the machine's.
pub fn unpacked(root: &Path) -> Option<Vec<OsString>> {
    let program = root.join("usr/sbin/openvpn");
    if !program.is_file() {
        return None;
    }
    // On Debian, usr/lib/<machine>-linux-gnu holds the C library's loader and all other libraries.
    let mut libraries = entries(&root.join("usr/lib"));
    libraries.retain(|path| path.is_dir());
    let loader = libraries
        .iter()
        .flat_map(|directory| entries(directory))
        .find(|path| file_name(path).starts_with("ld-linux"))?;
    let directory = loader.parent()?.to_owned();
    Some(vec![
        loader.into(),
        "--library-path".into(),
        directory.into(),
        program.into(),
    ])
}

/// The directory named by the environment, else the one in the target directory of the running test or of the
/// workspace.
fn root() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return Some(path.into());
    }
    let test = std::env::current_exe().ok()?;
    // <target>/<profile>/deps/<test>, or <target>/<profile>/<program>
    let targets = test.ancestors().skip(2).take(2).map(Path::to_owned);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    targets
        .chain([workspace.join("target")])
        .map(|target| target.join(DIRECTORY))
        .find(|root| root.is_dir())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
