//! Debian's own checks of a package.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::step;

/// Has lintian look at the package.
///
/// # Errors
/// If it finds an error.
pub(super) fn check(deb: &Path) -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian
        .args(["--fail-on", "error", "--tag-display-limit", "0"])
        // Root may build it, in a container or a namespace of its own.
        .arg("--allow-root")
        .arg(deb);
    step::run("lintian", &mut lintian)
}
