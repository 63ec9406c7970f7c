//! The Debian package of a tree.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::build::{self, Architecture};
use super::layout::Layout;
use super::release::Release;
use crate::{apt, check, step};

/// Who answers for the package.
const MAINTAINER: &str = "udco developers <udco@example.org>";

/// Maintainer scripts.
const SCRIPTS: [&str; 3] = ["postinst", "postrm", "prerm"];

/// Packs the tree, with what only a Debian package has: its control files and changelog.
///
/// # Errors
/// If a file is missing or dpkg-deb fails.
pub(super) fn build(
    layout: &Layout,
    architecture: &Architecture,
    release: &Release,
    to: &Path,
) -> Result<()> {
    let sources = check::workspace()?.join("packaging/debian");
    let read = |name: &str| {
        let path = sources.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    layout.write("usr/share/doc/udco/changelog.Debian", &changelog(release))?;
    layout.gzip("usr/share/doc/udco/changelog.Debian")?;
    layout.write(
        "usr/share/lintian/overrides/udco",
        &read("lintian-overrides")?,
    )?;
    let control = layout.root.join("DEBIAN");
    apt::remove(&control)?;
    let size = build::size(&layout.root)?.to_string();
    let filled = read("control.in")?
        .replace("@VERSION@", &release.version)
        .replace("@ARCHITECTURE@", architecture.debian)
        .replace("@MAINTAINER@", MAINTAINER)
        .replace("@SIZE@", &size);
    layout.write("DEBIAN/control", &filled)?;
    layout.write("DEBIAN/conffiles", &read("conffiles")?)?;
    layout.write("DEBIAN/md5sums", &sums(&layout.root)?)?;
    for script in SCRIPTS {
        let name = format!("DEBIAN/{script}");
        layout.write(&name, &read(script)?)?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(layout.root.join(name), mode)?;
    }
    layout.date(release)?;
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "--build"])
        .args([&layout.root, to])
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    step::run("Debian package", &mut pack)
}

fn changelog(release: &Release) -> String {
    format!(
        "udco ({}) unstable; urgency=medium\n\n  * Commit {}. What has changed is in changelog.gz.\n\n -- {MAINTAINER}  {}\n",
        release.version,
        release.commit,
        release.date("--rfc-email")
    )
}

/// The digests of all files, by which `dpkg --verify` finds damaged ones.
fn sums(root: &Path) -> Result<String> {
    let list = "find usr etc -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum";
    let output = Command::new("sh")
        .args(["-c", list])
        .current_dir(root)
        .output()?;
    ensure!(output.status.success(), "md5sum: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
