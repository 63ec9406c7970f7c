//! Checks the dependency tree against deny.toml: licences, sources, versions and security advisories.

use anyhow::Result;

use crate::step::{self, Lack};

/// Runs `cargo deny`; the database of advisories needs the network.
///
/// # Errors
/// If a dependency is not allowed, or has an advisory.
pub(crate) fn check() -> Result<Vec<Lack>> {
    let version = step::cargo("deny --version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        let why = "the dependency tree: needs `cargo install cargo-deny --locked`";
        return Ok(vec![Lack::All(why.to_owned())]);
    }
    step::run(
        "dependencies: licences, sources and versions",
        &mut step::cargo("deny check bans licenses sources"),
    )?;
    let fetch = &mut step::cargo("deny fetch");
    if let Err(error) = step::run("fetch the database of advisories", fetch) {
        let why = format!("advisories about dependencies: {error:#}");
        return Ok(vec![Lack::Part(why)]);
    }
    let advisories = &mut step::cargo("deny check advisories");
    step::run("dependencies: advisories", advisories)?;
    Ok(Vec::new())
}
