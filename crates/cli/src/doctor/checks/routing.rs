//! Routes, forwarding and the reverse-path filter.

use udco_netlink::route::Preference;
use udco_options::{Reading, Setting, is_server};
use udco_state::{Finding, Severity};

use crate::doctor::facts::{DefaultRoute, Facts, Serves};
use crate::doctor::finding::{More, Name, finding};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let network = &facts.network;
    found.extend(same_metric(
        &uplinks(facts, &network.defaults),
        "a default route",
        "uses the one that was added first",
        "`ip route show default` lists them",
    ));
    found.extend(same_metric(
        &uplinks(facts, &network.defaults6),
        "an IPv6 default route",
        "may use either for a packet",
        "`ip -6 route show default` lists them; or have one router advertise a higher preference (radvd's \
         `AdvDefaultPreference high`)",
    ));
    if let Some(reading) = &facts.reading {
        found.extend(other_default(facts, reading));
        if is_server(&reading.settings) {
            found.extend(forwarding(facts, reading));
            found.extend(reverse_path(facts));
        }
    }
    found
}

/// Default routes that are not a tunnel's.
fn uplinks<'a>(facts: &Facts, routes: &'a [DefaultRoute]) -> Vec<&'a DefaultRoute> {
    let is_tunnel = |route: &&DefaultRoute| {
        let mut links = facts.network.links.iter();
        links.any(|link| link.name == route.device && link.serves != Serves::Other)
    };
    routes.iter().filter(|it| !is_tunnel(it)).collect()
}

/// Two routes between which nothing decides: neither metric nor, for IPv6, the preference of the router.
fn same_metric(
    uplinks: &[&DefaultRoute],
    route: &str,
    effect: &str,
    hint: &str,
) -> Option<Finding> {
    let (one, other) = uplinks.iter().enumerate().find_map(|(at, one)| {
        let rank = |it: &DefaultRoute| (it.metric, it.preference);
        let mut later = uplinks.iter().skip(at + 1);
        let other = later.find(|it| rank(it) == rank(one) && it.device != one.device)?;
        Some((one, other))
    })?;
    let about = format!("{} and {}", one.device, other.device);
    let preference = match one.preference {
        None => "",
        Some(Preference::Low) => " and router preference low",
        Some(Preference::Medium) => " and router preference medium",
        Some(Preference::High) => " and router preference high",
    };
    let means = format!(
        "both have {route} of metric {}{preference}, and the kernel {effect}",
        one.metric
    );
    Some(
        finding(Name::DefaultRoutes, Severity::Warning, about, means).cure(format!(
            "give them different metrics where they are configured; {hint}"
        )),
    )
}

/// `redirect-gateway` without `def1` replaces one default route, and others stay.
fn other_default(facts: &Facts, reading: &Reading) -> Option<Finding> {
    let redirect = |it: &&Setting| it.name == "redirect-gateway";
    let setting = reading.settings.iter().rfind(redirect)?;
    let has_def1 = setting.arguments.iter().any(|it| it == "def1");
    let uplinks = uplinks(facts, &facts.network.defaults);
    if has_def1 || uplinks.len() < 2 {
        return None;
    }
    let devices: Vec<_> = uplinks.iter().map(|it| it.device.as_str()).collect();
    let means = format!(
        "replaces one of the default routes of this machine ({}); if the tunnel's has a higher metric than the others, \
         traffic leaves in the clear",
        devices.join(", ")
    );
    Some(
        finding(
            Name::DefaultRoutes,
            Severity::Warning,
            setting.to_string(),
            means,
        )
        .cure("give `redirect-gateway def1`, which no default route beats"),
    )
}

/// A server that gives its clients a way to other networks.
fn forwarding(facts: &Facts, reading: &Reading) -> Vec<Finding> {
    let pushed = |words: &[&str]| {
        reading.settings.iter().find(|it| {
            let text = it.argument(0).unwrap_or_default();
            let first = text.split_whitespace().next().unwrap_or_default();
            it.name == "push" && words.contains(&first)
        })
    };
    let network = &facts.network;
    let mut found = Vec::new();
    let of4 = pushed(&["route", "redirect-gateway"]).or_else(|| {
        reading
            .settings
            .iter()
            .find(|it| it.name == "client-to-client")
    });
    let of6 = pushed(&["route-ipv6"]);
    for (setting, forwards, family, key) in [
        (of4, network.forwards4, "IPv4", "net.ipv4.ip_forward"),
        (
            of6,
            network.forwards6,
            "IPv6",
            "net.ipv6.conf.all.forwarding",
        ),
    ] {
        let (Some(setting), Some(false)) = (setting, forwards) else {
            continue;
        };
        let means = format!(
            "this machine forwards no {family} packets, so clients reach nothing behind it"
        );
        found.push(
            finding(
                Name::Forwarding,
                Severity::Warning,
                setting.to_string(),
                means,
            )
            .cure(format!(
                "`sysctl {key}=1`, with a firewall that says what may pass"
            )),
        );
    }
    found
}

fn reverse_path(facts: &Facts) -> Option<Finding> {
    let strict = &facts.network.strict;
    let uplinks = uplinks(facts, &facts.network.defaults);
    let is_uplink = |name: &&String| uplinks.iter().any(|it| it.device == **name);
    let strict: Vec<_> = strict
        .iter()
        .filter(is_uplink)
        .map(String::as_str)
        .collect();
    if uplinks.len() < 2 || strict.is_empty() {
        return None;
    }
    let means = "with several default routes, a strict rp_filter drops clients that come in by the one that is not used";
    Some(
        finding(Name::ReversePath, Severity::Info, strict.join(", "), means)
            .cure("`sysctl net.ipv4.conf.all.rp_filter=2` accepts what any route leads back to"),
    )
}
