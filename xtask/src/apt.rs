//! An apt with directories of its own: unpacks packages of other releases without installing them.
//!
//! The machine's packages, lists and caches stay as they are; downloads are verified with Debian's keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::step;

/// Debian's keys, from the package debian-archive-keyring: they verify the mirror's packages.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Directories that apt expects.
const APT_DIRECTORIES: [&str; 5] = [
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "var/lib/apt/lists/partial",
    "var/lib/dpkg",
    "var/cache/apt/archives/partial",
];

/// apt, with directories and settings of its own.
pub(crate) struct Apt {
    what: String,
    root: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    /// An apt below `root` with these suites of Debian's archive; announces `what` with each step.
    ///
    /// # Errors
    /// If the machine's own apt names no archive, or if the directories cannot be written.
    pub(crate) fn new(root: &Path, what: &str, suites: &[&str]) -> Result<Self> {
        let mirror = mirror()?;
        for directory in APT_DIRECTORIES {
            fs::create_dir_all(root.join(directory))?;
        }
        let status = root.join("var/lib/dpkg/status");
        fs::write(&status, "")?;
        let source = |suite: &&str| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        let sources: String = suites.iter().map(source).collect();
        fs::write(root.join("etc/apt/sources.list"), sources)?;
        let mut lines = transport_settings()?;
        lines.extend([
            format!("Dir \"{}/\";", root.display()),
            format!("Dir::State::status \"{}\";", status.display()),
            // apt's own user may lack access to the target directory.
            "APT::Sandbox::User \"root\";".to_owned(),
            "APT::Install-Recommends \"false\";".to_owned(),
            "Acquire::Languages \"none\";".to_owned(),
            // Tolerates a stale mirror, or a clock that is ahead: the signature is valid all the same.
            "Acquire::Check-Valid-Until \"false\";".to_owned(),
            String::new(),
        ]);
        let configuration = root.join("apt.conf");
        fs::write(&configuration, lines.join("\n"))?;
        Ok(Self {
            what: what.to_owned(),
            root: root.to_owned(),
            configuration,
        })
    }

    /// Runs apt-get.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) fn run(&self, step: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("APT_CONFIG", &self.configuration)
            .env("DEBIAN_FRONTEND", "noninteractive");
        step::run(&format!("{}: {step}", self.what), &mut command)
    }

    /// Its directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of downloaded packages.
    pub(crate) fn archives(&self) -> PathBuf {
        self.root.join("var/cache/apt/archives")
    }
}

/// A Debian archive that the machine's own apt uses, without a trailing slash.
///
/// # Errors
/// If there is no apt, or if it has no such archive.
pub(crate) fn mirror() -> Result<String> {
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(CREATED_BY) $(COMPONENT) $(REPO_URI)",
        ])
        .output()
        .context("no apt-get: the packages come from Debian's archive")?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("Packages main "))
        .map(|uri| uri.trim_end_matches('/'))
        // Neither the archive of security updates nor a third party's.
        .find(|uri| uri.ends_with("/debian"))
        .map(str::to_owned)
        .context("the machine's apt sources name no Debian archive")
}

/// The machine's own proxy and other download settings.
fn transport_settings() -> Result<Vec<String>> {
    let output = Command::new("apt-config").arg("dump").output()?;
    let is_transport = |line: &&str| {
        ["http", "https", "ftp", "Check", "Retries", "Force"]
            .iter()
            .any(|word| {
                line.strip_prefix("Acquire::")
                    .is_some_and(|rest| rest.starts_with(word))
            })
    };
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter(is_transport)
        .map(str::to_owned)
        .collect())
}

/// Unpacks every package of a directory below `root`.
pub(crate) fn unpack(archives: &Path, root: &Path) -> Result<()> {
    unpack_if(|_| true, archives, root)
}

/// Unpacks the package `name` of a directory below `root`.
pub(crate) fn unpack_only(name: &str, archives: &Path, root: &Path) -> Result<()> {
    // <name>_<version>_<architecture>.deb
    let is_it = |file: &str| file.split_once('_').is_some_and(|(first, _)| first == name);
    unpack_if(is_it, archives, root)
}

fn unpack_if(is_wanted: impl Fn(&str) -> bool, archives: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(archives)? {
        let package = entry?.path();
        let file = package.file_name().unwrap_or_default().to_string_lossy();
        if !(file.ends_with(".deb") && is_wanted(&file)) {
            continue;
        }
        let status = Command::new("dpkg-deb")
            .arg("-x")
            .args([&package, root])
            .status()?;
        ensure!(status.success(), "cannot unpack {}", package.display());
    }
    Ok(())
}

/// Removes a directory and its contents, if it exists.
pub(crate) fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    Ok(())
}
