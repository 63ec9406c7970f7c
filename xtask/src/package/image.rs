//! Builds the container image and runs the commands of docs/containers.md, with the podman and the docker of a Debian of their
//! own: this machine gets neither, and its network is used for the recipe's downloads only.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use udco_testbed::Pki;

use super::install::{debian, keys, unpack};
use crate::report::Report;
use crate::{apt, check};

/// What runs there.
const SCRIPT: &str = include_str!("image.sh");

/// The first release with `docker compose`.
const SUITE: &str = "trixie";

/// What it needs.
const INCLUDE: &str = "--include=aardvark-dns,crun,docker-buildx,docker-cli,docker-compose,docker.io,iproute2,iptables,\
                       iputils-ping,mount,netavark,nftables,podman,procps";

/// Where the script finds its files, and writes its report.
const PLACE: &str = "opt/udco-test";

/// Longest time for the script, in seconds. A step that fails takes a minute.
const LIMIT: &str = "900";

/// Tests the image made of a tarball; returns how much the script skipped, and fails if a step did.
pub(super) fn test(tarball: &Path, architecture: &str, target: &Path) -> Result<u32> {
    let workspace = check::workspace()?;
    let recipe = fs::read_to_string(workspace.join("packaging/container/Containerfile"))?;
    let base = base_of(&recipe).context("the Containerfile is not FROM debian:SUITE-slim")?;
    let base = debian(
        &format!("debian-{base}-base"),
        base,
        &["--variant=minbase"],
        target,
    )?;
    let options = ["--variant=apt", INCLUDE];
    let engines = debian("debian-containers", SUITE, &options, target)?;
    let directory = target.join("package/containers");
    unpack(&engines, &directory)?;
    let place = directory.join(PLACE);
    let source = place.join("source");
    let tarballs = source.join("target/package").join(architecture);
    fs::create_dir_all(source.join("packaging/container"))?;
    fs::create_dir_all(&tarballs)?;
    for file in [
        "packaging/container/Containerfile",
        "packaging/container/compose.yaml",
    ] {
        fs::copy(workspace.join(file), source.join(file)).context(file)?;
    }
    let page = workspace.join("docs/containers.md");
    fs::copy(page, place.join("containers.md"))?;
    fs::copy(base, place.join("base.tar"))?;
    let name = tarball.file_name().context("no name")?;
    fs::copy(tarball, tarballs.join(name))?;
    configurations(&place)?;
    let script = place.join("image.sh");
    fs::write(&script, SCRIPT)?;
    run(&directory, &script)
}

/// The release of Debian that a recipe starts from.
fn base_of(recipe: &str) -> Option<&str> {
    let from = recipe
        .lines()
        .find_map(|line| line.strip_prefix("FROM debian:"))?;
    from.trim_end().strip_suffix("-slim")
}

/// Runs the script, in namespaces of its own, and judges its report.
fn run(directory: &Path, script: &Path) -> Result<u32> {
    eprintln!("==> build and run the image");
    let file = script.with_file_name("report");
    let report = fs::File::create(&file)?;
    let status = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private"])
        .args(["timeout", "--kill-after=10", LIMIT, "sh"])
        .args([script, directory])
        .stdin(Stdio::null())
        .stderr(report.try_clone()?)
        .stdout(report)
        .status()
        .context("cannot start unshare")?;
    let text = fs::read_to_string(&file)?;
    let report = Report::read(&text);
    let skipped: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("SKIPPED "))
        .collect();
    skipped.iter().for_each(|line| eprintln!("{line}"));
    let (passed, failed) = (report.passed.len(), report.failed.len());
    println!("image: {passed} steps passed, {failed} failed");
    if !report.is_done {
        let end: Vec<&str> = text.lines().rev().take(5).collect();
        bail!("the script did not come to its end ({status}): {end:?}");
    }
    ensure!(failed == 0, "failed: {}", report.failed.join("; "));
    apt::remove(directory)?;
    Ok(skipped.len() as u32)
}

/// The directories of compose.yaml, as its comment describes them.
fn configurations(place: &Path) -> Result<()> {
    let common = "dev tun0\nproto udp\nca ca.crt\nverb 3\nkeepalive 10 60\n";
    let server = "server 10.8.0.0 255.255.255.0\ntopology subnet\ndh none\nport 1194\n\
                  push \"redirect-gateway def1\"\n";
    let client = "client\nremote server 1194\nremote-cert-tls server\npersist-tun\n";
    let pki = Pki::new(place)?;
    for (name, own) in [("server", server), ("client", client)] {
        let credentials = match name {
            "server" => pki.server(name)?,
            _ => pki.client(name)?,
        };
        let directory = place.join(name);
        fs::create_dir_all(&directory)?;
        for file in [
            &credentials.authority,
            &credentials.certificate,
            &credentials.key,
        ] {
            fs::copy(file, directory.join(file.file_name().context("no name")?))?;
        }
        let text = format!("{common}{own}{}", keys(&credentials)?);
        fs::write(directory.join(format!("{name}.conf")), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::base_of;

    #[test]
    fn the_recipe_names_a_release() {
        let recipe = include_str!("../../../packaging/container/Containerfile");
        assert_eq!(base_of(recipe), Some("bookworm"));
        assert_eq!(base_of("FROM alpine:3.20\n"), None);
    }
}
