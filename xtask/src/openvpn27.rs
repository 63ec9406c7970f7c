//! `cargo xtask openvpn27`: OpenVPN 2.7 with libraries of its own, unpacked and not installed.
//!
//! Debian's backports for trixie have it, the releases that most machines run do not. An apt with directories of its
//! own and an empty list of installed packages fetches it with everything it needs, down to the C library; the
//! machine's packages, lists and caches stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use udco_testbed::version;

use crate::{check, step};

/// The release, and the suite on top of it that has OpenVPN 2.7.
const RELEASE: &str = "trixie";
const BACKPORTS: &str = "trixie-backports";

/// Debian's keys, of the package debian-archive-keyring: they verify what the mirror gives.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Directories that apt wants to find.
const APT_DIRECTORIES: [&str; 5] = [
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "var/lib/apt/lists/partial",
    "var/lib/dpkg",
    "var/cache/apt/archives/partial",
];

/// Runs the command.
pub(crate) fn run() -> Result<()> {
    let root = ensure(&check::workspace()?.join("target"))?;
    println!("{}", root.display());
    Ok(())
}

/// Unpacks it to `openvpn-2.7` in the target directory unless it is there.
///
/// # Errors
/// Says why the packages cannot be had; nothing is left behind then that a later run takes for whole.
pub(crate) fn ensure(target: &Path) -> Result<PathBuf> {
    let root = target.join("openvpn-2.7");
    if let Some(words) = version::unpacked(&root) {
        eprintln!("==> {} is there", reported(&words)?);
        return Ok(root);
    }
    let fresh = target.join("openvpn-2.7.new");
    remove(&fresh)?;
    fs::create_dir_all(&fresh)?;
    let apt = Apt::new(&fresh.join("apt"), &mirror()?)?;
    apt.run("update", &["update", "-q", "--error-on=any"])?;
    let install = ["install", "-q", "-y", "--download-only", "-t", BACKPORTS];
    apt.run(
        "download openvpn",
        &[install.as_slice(), &["openvpn"]].concat(),
    )?;
    unpack(&apt.root.join("var/cache/apt/archives"), &fresh)?;
    remove(&apt.root)?;
    let words =
        version::unpacked(&fresh).context("the packages hold no OpenVPN that can be started")?;
    let version = reported(&words)?;
    ensure!(
        version.starts_with("OpenVPN 2.7"),
        "{BACKPORTS} has {version}"
    );
    remove(&root)?;
    fs::rename(&fresh, &root)?;
    eprintln!("==> {version} is in {}", root.display());
    Ok(root)
}

/// The first words that it says of itself.
fn reported(words: &[std::ffi::OsString]) -> Result<String> {
    let (program, arguments) = words.split_first().context("no command")?;
    let output = Command::new(program)
        .args(arguments)
        .arg("--version")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut first = text.split_whitespace();
    match (first.next(), first.next()) {
        (Some(name), Some(number)) => Ok(format!("{name} {number}")),
        _ => bail!(
            "the unpacked OpenVPN does not run ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    }
}

/// A Debian archive that the machine's own apt uses, without a slash at the end.
fn mirror() -> Result<String> {
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(CREATED_BY) $(COMPONENT) $(REPO_URI)",
        ])
        .output()
        .context("no apt-get: OpenVPN 2.7 comes from Debian's archive")?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("Packages main "))
        .map(|uri| uri.trim_end_matches('/'))
        // Not the archive of security updates, nor somebody else's.
        .find(|uri| uri.ends_with("/debian"))
        .map(str::to_owned)
        .context("the machine's apt sources name no Debian archive, which has OpenVPN 2.7")
}

/// apt, with directories and settings of its own.
struct Apt {
    root: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    fn new(root: &Path, mirror: &str) -> Result<Self> {
        for directory in APT_DIRECTORIES {
            fs::create_dir_all(root.join(directory))?;
        }
        let status = root.join("var/lib/dpkg/status");
        fs::write(&status, "")?;
        let suites = [RELEASE, BACKPORTS];
        let source = |suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        fs::write(
            root.join("etc/apt/sources.list"),
            suites.map(source).concat(),
        )?;
        let mut lines = transport_settings()?;
        lines.extend([
            format!("Dir \"{}/\";", root.display()),
            format!("Dir::State::status \"{}\";", status.display()),
            // The target directory may be closed to apt's own user.
            "APT::Sandbox::User \"root\";".to_owned(),
            "APT::Install-Recommends \"false\";".to_owned(),
            "Acquire::Languages \"none\";".to_owned(),
            // A mirror that has stood still for a while, or a clock that is ahead: the signature holds all the same.
            "Acquire::Check-Valid-Until \"false\";".to_owned(),
            String::new(),
        ]);
        let configuration = root.join("apt.conf");
        fs::write(&configuration, lines.join("\n"))?;
        Ok(Self {
            root: root.to_owned(),
            configuration,
        })
    }

    fn run(&self, what: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("APT_CONFIG", &self.configuration)
            .env("DEBIAN_FRONTEND", "noninteractive");
        step::run(&format!("OpenVPN 2.7 of {BACKPORTS}: {what}"), &mut command)
    }
}

/// The machine's own proxies and other settings for getting things.
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

fn unpack(archives: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(archives)? {
        let package = entry?.path();
        if package
            .extension()
            .is_none_or(|extension| extension != "deb")
        {
            continue;
        }
        let status = Command::new("dpkg-deb")
            .arg("-x")
            .args([&package, root])
            .status()?;
        ensure!(status.success(), "cannot unpack {}", package.display());
    }
    // Debian's merged /usr, which a package takes for granted.
    for name in ["bin", "sbin", "lib", "lib64"] {
        let link = root.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(Path::new("usr").join(name), &link)?;
        }
    }
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    Ok(())
}
