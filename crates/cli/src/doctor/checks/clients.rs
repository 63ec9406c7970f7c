//! The files of `client-config-dir`.

use std::net::Ipv4Addr;

use udco_options::{Cause, Series, Setting, is_server, rules_out};
use udco_state::{Finding, Severity};

use crate::doctor::facts::{Clients, Facts};
use crate::doctor::finding::{More, Name, finding, word};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let (Some(clients), Some(reading)) = (&facts.clients, &facts.reading) else {
        return Vec::new();
    };
    if !is_server(&reading.settings) {
        return Vec::new();
    }
    let has = |name: &str| reading.settings.iter().any(|it| it.name == name);
    let mut found = Vec::new();
    found.extend(denied(clients, has("ccd-exclusive")));
    // Another topology has its own finding, since it keeps offload off.
    let mut topology = reading.settings.iter().filter(|it| it.name == "topology");
    if topology
        .next_back()
        .is_none_or(|it| it.argument(0) == Some("subnet"))
    {
        let server = reading.settings.iter().rfind(|it| it.name == "server");
        let netmask = server
            .and_then(|it| it.argument(1))
            .unwrap_or("255.255.255.0");
        let settings = clients.files.iter().flatten();
        found.extend(settings.filter_map(|it| address(it, netmask)));
    }
    let series = facts.launch.release.and_then(|it| it.series());
    // OpenVPN's own data path bears all of them.
    if rules_out(&reading.settings, series).is_empty() {
        found.extend(
            clients
                .files
                .iter()
                .flat_map(|it| without_offload(it, series)),
        );
    }
    found
}

fn denied(clients: &Clients, is_exclusive: bool) -> Option<Finding> {
    let (user, at) = clients.denied.as_ref()?;
    let outcome = match is_exclusive {
        true => "refuses the clients whose files it cannot read",
        false => "serves clients as if they had no file",
    };
    let means = format!(
        "{} may not be read by {user}, as whom OpenVPN runs: it {outcome}",
        at.display()
    );
    // What lies above the directory may hold keys: its user may pass, and read nothing else.
    let (rights, at) = match at.starts_with(&clients.directory) {
        true => ("-R -m u:{}:rX", &clients.directory),
        false => ("-m u:{}:x", at),
    };
    let rights = rights.replace("{}", &word(user));
    let cure = format!("`setfacl {rights} {}`", word(at.display()));
    Some(finding(Name::File, Severity::Warning, &clients.option, means).cure(cure))
}

/// `ifconfig-push` with two addresses, as topology net30 and p2p have it.
fn address(setting: &Setting, netmask: &str) -> Option<Finding> {
    if setting.name != "ifconfig-push" {
        return None;
    }
    let second: Ipv4Addr = setting.argument(1)?.parse().ok()?;
    let bits = second.to_bits();
    if bits.leading_ones() + bits.trailing_zeros() >= 32 {
        return None;
    }
    let first = setting.argument(0)?;
    let means = format!(
        "{second} is not a netmask, which `topology subnet` expects: an OpenVPN 2.6 client ends with an error"
    );
    Some(
        finding(
            Name::Topology,
            Severity::Warning,
            setting.to_string(),
            means,
        )
        .cure(format!("`ifconfig-push {first} {netmask}`")),
    )
}

/// Options that would switch offload off for one client, which a server with offload cannot do.
fn without_offload(file: &[Setting], series: Option<Series>) -> Vec<Finding> {
    let found = rules_out(file, None).into_iter().filter_map(|out| {
        let setting = out.setting?;
        let (name, severity, means, cure) = match out.cause {
            Cause::Disabled => {
                let (severity, means) = match series {
                    Some(Series::V27) => (
                        Severity::Warning,
                        "this client is refused: the server cannot switch offload off for one client",
                    ),
                    _ => (
                        Severity::Error,
                        "the server ends when this client connects: it cannot switch offload off for one client",
                    ),
                };
                let cure = "remove this line: a server with offload serves clients that have none";
                (Name::DisableDco, severity, means, cure)
            }
            // `allow-compression` has no effect here.
            Cause::Compression if setting.name != "allow-compression" => (
                Name::Compression,
                Severity::Warning,
                "a server with offload refuses this client, even with `comp-lzo no`",
                "remove this line; if the client still has `comp-lzo`, give `compress migrate` in the server's own \
                 configuration",
            ),
            _ => return None,
        };
        Some(finding(name, severity, setting.to_string(), means).cure(cure))
    });
    found.collect()
}
