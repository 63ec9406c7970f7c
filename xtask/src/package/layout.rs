//! The tree of files as it is installed: the same in the Debian package and in the tarball.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::build::Built;
use super::licences;
use super::release::Release;
use crate::check;

/// Files of the repository, and where they are installed. A program has a directory of programs.
const FILES: &[(&str, &str)] = &[
    ("packaging/openvpn/run-openvpn", "usr/lib/udco/run-openvpn"),
    ("packaging/openvpn/default", "etc/default/udco"),
    (
        "packaging/openvpn/needrestart.conf",
        "etc/needrestart/conf.d/udco.conf",
    ),
    (
        "packaging/apparmor/udco",
        "etc/apparmor.d/abstractions/udco",
    ),
    (
        "packaging/systemd/udco.service",
        "usr/lib/systemd/system/udco.service",
    ),
    (
        "packaging/systemd/udco-metrics.service",
        "usr/lib/systemd/system/udco-metrics.service",
    ),
    (
        "packaging/systemd/udco-generator",
        "usr/lib/systemd/system-generators/udco-generator",
    ),
    (
        "packaging/systemd/sysusers.conf",
        "usr/lib/sysusers.d/udco.conf",
    ),
    (
        "packaging/systemd/tmpfiles.conf",
        "usr/lib/tmpfiles.d/udco.conf",
    ),
    (
        "packaging/systemd/udco.catalog",
        "usr/lib/systemd/catalog/udco.catalog",
    ),
    (
        "packaging/prometheus/udco.rules.yml",
        "usr/share/doc/udco/examples/udco.rules.yml",
    ),
    (
        "packaging/prometheus/dashboard.json",
        "usr/share/doc/udco/examples/dashboard.json",
    ),
    (
        "packaging/container/Containerfile",
        "usr/share/doc/udco/examples/Containerfile",
    ),
    (
        "packaging/container/compose.yaml",
        "usr/share/doc/udco/examples/compose.yaml",
    ),
];

/// Pages of `docs` for those who run udco, below /usr/share/doc: messages and `--help` name them.
const PAGES: [&str; 13] = [
    "capture.md",
    "containers.md",
    "doctor.md",
    "drops.md",
    "exit-codes.md",
    "faq.md",
    "metrics.md",
    "offload.md",
    "operating.md",
    "quick-start.md",
    "show.schema.json",
    "threat-model.md",
    "top.md",
];

/// Directories of programs.
const PROGRAMS: [&str; 2] = ["usr/bin", "usr/lib/systemd/system-generators"];

/// The tree.
pub(super) struct Layout {
    pub(super) root: PathBuf,
}

impl Layout {
    /// Makes the tree at `root`.
    ///
    /// # Errors
    /// If a file is missing or cannot be written.
    pub(super) fn make(root: &Path, built: &Built, release: &Release) -> Result<Self> {
        let layout = Self {
            root: root.to_owned(),
        };
        layout.copy(&built.udco, "usr/bin/udco")?;
        layout.copy(&built.library, "usr/lib/udco/libudco_preload.so")?;
        let workspace = check::workspace()?;
        for (from, to) in FILES {
            layout.copy(&workspace.join(from), to)?;
        }
        for page in PAGES {
            let to = format!("usr/share/doc/udco/{page}");
            layout.copy(&workspace.join("docs").join(page), &to)?;
        }
        layout.documents(&built.documents)?;
        layout.copy(
            &workspace.join("CHANGELOG.md"),
            "usr/share/doc/udco/changelog",
        )?;
        layout.gzip("usr/share/doc/udco/changelog")?;
        layout.write(
            "usr/share/doc/udco/third-party-licences",
            &licences::text(&built.target)?,
        )?;
        layout.gzip("usr/share/doc/udco/third-party-licences")?;
        let copyright = fs::read_to_string(workspace.join("packaging/debian/copyright"))?;
        let mit = field(&fs::read_to_string(workspace.join("LICENSE-MIT"))?);
        layout.write(
            "usr/share/doc/udco/copyright",
            &copyright.replace("@MIT@", &mit),
        )?;
        layout.date(release)?;
        Ok(layout)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// If it cannot.
    pub(super) fn write(&self, to: &str, text: &str) -> Result<()> {
        let path = self.root.join(to);
        make_parent(&path)?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        self.set_mode(to)
    }

    /// Compresses a file, without its date.
    ///
    /// # Errors
    /// If gzip fails.
    pub(super) fn gzip(&self, file: &str) -> Result<()> {
        let mut gzip = Command::new("gzip");
        let status = gzip.arg("-9nf").arg(self.root.join(file)).status()?;
        anyhow::ensure!(status.success(), "gzip {file}: {status}");
        Ok(())
    }

    /// Gives all files and directories the release's date.
    ///
    /// # Errors
    /// If one cannot be touched.
    pub(super) fn date(&self, release: &Release) -> Result<()> {
        let mut find = Command::new("find");
        find.arg(&self.root)
            .args(["-exec", "touch", "--no-dereference"])
            .arg(format!("--date=@{}", release.epoch))
            .args(["{}", "+"]);
        let status = find.status()?;
        anyhow::ensure!(status.success(), "find: {status}");
        Ok(())
    }

    /// The command that packs the tree.
    pub(super) fn tar(&self, to: &Path, release: &Release) -> Command {
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--format=gnu"])
            .args(["--owner=0", "--group=0", "--numeric-owner"])
            .arg(format!("--mtime=@{}", release.epoch))
            .args(["--use-compress-program", "gzip -9n"])
            .arg("--directory")
            .arg(&self.root)
            .arg("--file")
            .arg(to)
            .args(["etc", "usr"]);
        tar
    }

    /// Manual pages, compressed as Debian wants them, and completions where each shell looks for them.
    fn documents(&self, from: &Path) -> Result<()> {
        for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match name.as_ref() {
                "udco.bash" => self.copy(&path, "usr/share/bash-completion/completions/udco")?,
                "_udco" => self.copy(&path, "usr/share/zsh/vendor-completions/_udco")?,
                "udco.fish" => {
                    self.copy(&path, "usr/share/fish/vendor_completions.d/udco.fish")?;
                }
                page => {
                    let to = format!("usr/share/man/man1/{page}");
                    self.copy(&path, &to)?;
                    self.gzip(&to)?;
                }
            }
        }
        Ok(())
    }

    fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let path = self.root.join(to);
        make_parent(&path)?;
        fs::copy(from, &path).with_context(|| from.display().to_string())?;
        self.set_mode(to)
    }

    fn set_mode(&self, to: &str) -> Result<()> {
        let is_program = PROGRAMS.iter().any(|directory| {
            to.strip_prefix(directory)
                .is_some_and(|rest| rest.starts_with('/'))
        });
        let mode = match is_program || to.ends_with("/run-openvpn") {
            true => 0o755,
            false => 0o644,
        };
        fs::set_permissions(self.root.join(to), fs::Permissions::from_mode(mode))?;
        Ok(())
    }
}

/// A text as the continuation of a field in one of Debian's files.
fn field(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| match line {
        "" => " .".to_owned(),
        line => format!(" {line}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Creates the directory that a file goes to, with the usual mode whatever the umask is.
fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("no directory")?;
    if parent.is_dir() {
        return Ok(());
    }
    make_parent(parent)?;
    fs::create_dir(parent).with_context(|| parent.display().to_string())?;
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
