//! The files of `client-config-dir`.

use std::net::Ipv4Addr;

use udco_options::{Setting, is_server};
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
        found.extend(
            clients
                .settings
                .iter()
                .filter_map(|it| address(it, netmask)),
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
