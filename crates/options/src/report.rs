//! The meaning of the options with offload.

use std::fmt;

use udco_ipc::DataPathOptions;

use crate::mssfix;
use crate::rules_out::{RulesOut, rules_out};
use crate::setting::Setting;

/// The meaning of a list of options with offload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Options that the engine applies as OpenVPN would.
    pub honoured: DataPathOptions,
    /// Options that have no effect, each once.
    pub without_effect: Vec<WithoutEffect>,
    /// Options that make OpenVPN disable offload: then all others take effect.
    pub rules_out: Vec<RulesOut>,
}

/// An option that has no effect with offload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithoutEffect {
    /// The option.
    pub setting: Setting,
    /// What happens instead, or the remedy.
    pub instead: &'static str,
}

/// `with offload, shaper (client.conf:3) has no effect: …`
impl fmt::Display for WithoutEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, instead } = self;
        write!(f, "with offload, {setting} has no effect: {instead}")
    }
}

/// Options that never have an effect, whatever else is given: OpenVPN 2.6.14 and 2.7.8 keep offload on with each. By
/// its manual, the option changes packets in a way that the engine does not.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "shaper",
        "nothing is slowed down; limit the device with `tc` instead",
    ),
    (
        "block-ipv6",
        "IPv6 packets pass; reject them with a firewall rule or a route instead",
    ),
    (
        "client-nat",
        "no address is translated; translate with a firewall rule instead",
    ),
    (
        "client-to-client",
        "packets between clients pass this host's routes and firewall",
    ),
    (
        "reneg-bytes",
        "keys are renewed before the limits of their cipher, and by reneg-sec",
    ),
    (
        "reneg-pkts",
        "keys are renewed before the limits of their cipher, and by reneg-sec",
    ),
    ("replay-window", "the engine's own window is used"),
    (
        "tcp-queue-limit",
        "the engine's own limit is used, in bytes",
    ),
    (
        "bcast-buffers",
        "the engine keeps no packets for many clients",
    ),
    ("fast-io", "the engine moves packets in batches anyway"),
    ("mtu-test", "no data channel message of OpenVPN's passes"),
    ("stale-routes-check", "no route is learned from packets"),
    (
        "nice",
        "it is OpenVPN's priority, not that of the engine, which moves the packets",
    ),
    (
        "mlock",
        "it locks OpenVPN's memory, not that of the engine, which has the keys, too",
    ),
    ("dev-node", "/dev/net/tun is used"),
    (
        "allow-recursive-routing",
        "packets for the peer's own outer address are dropped",
    ),
];

/// Reports the meaning of the settings with offload.
#[must_use]
pub fn report(settings: &[Setting]) -> Report {
    let all = Given(settings);
    let mut honoured = DataPathOptions {
        mssfix: mssfix::in_effect(settings),
        passtos: all.has("passtos"),
        txqueuelen: None,
    };
    if let Some(length) = all.last("txqueuelen").and_then(|it| it.number(0)) {
        // 0 leaves the length as it is.
        honoured.txqueuelen = u32::try_from(length).ok().filter(|length| *length > 0);
    }
    let plain = WITHOUT_EFFECT.iter().filter_map(|(name, instead)| {
        let setting = all.last(name)?.clone();
        Some(WithoutEffect { setting, instead })
    });
    let some = [all.lone_keepalive(), all.passtos_over_tcp()];
    let mut without_effect: Vec<_> = plain.chain(some.into_iter().flatten()).collect();
    // In the order in which they were given.
    without_effect.sort_by_key(|it| settings.iter().position(|given| *given == it.setting));
    Report {
        honoured,
        without_effect,
        rules_out: rules_out(settings, None),
    }
}

#[derive(Clone, Copy)]
struct Given<'a>(&'a [Setting]);

impl<'a> Given<'a> {
    fn last(self, name: &str) -> Option<&'a Setting> {
        self.0.iter().rfind(|setting| setting.name == name)
    }

    fn has(self, name: &str) -> bool {
        self.last(name).is_some()
    }

    fn has_any(self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    /// Keepalives need both an interval and a timeout; a client gets both from its server.
    fn lone_keepalive(self) -> Option<WithoutEffect> {
        if self.has_any(&["keepalive", "client", "pull"]) {
            return None;
        }
        let ping = self.last("ping");
        let timeout = self.last("ping-restart").or_else(|| self.last("ping-exit"));
        let (setting, instead) = match (ping, timeout) {
            (Some(ping), None) => (
                ping,
                "no keepalives are sent without ping-restart or ping-exit; give one of them",
            ),
            (None, Some(timeout)) => (
                timeout,
                "a silent peer is not noticed without ping; give that, too",
            ),
            _ => return None,
        };
        Some(WithoutEffect {
            setting: setting.clone(),
            instead,
        })
    }

    fn passtos_over_tcp(self) -> Option<WithoutEffect> {
        let setting = self.last("passtos")?.clone();
        let is_tcp = |setting: &Setting| {
            let protocol = match setting.name.as_str() {
                "proto" => setting.argument(0),
                "remote" => setting.argument(2),
                _ => None,
            };
            protocol.is_some_and(|protocol| protocol.starts_with("tcp"))
        };
        self.0.iter().any(is_tcp).then_some(WithoutEffect {
            setting,
            instead: "over TCP all packets share the connection's TOS; over UDP it is honoured",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::read;

    fn of(file: &str) -> Report {
        let open = |_: &Path| Ok(file.as_bytes().to_vec());
        report(&read(&["c.conf".into()], Path::new(""), open).settings)
    }

    fn named(file: &str) -> Vec<String> {
        let named = of(file).without_effect;
        named.into_iter().map(|it| it.setting.to_string()).collect()
    }

    #[test]
    fn txqueuelen_and_passtos_are_honoured() {
        let report = of("txqueuelen 250\npasstos");
        assert_eq!(report.honoured.txqueuelen, Some(250));
        assert!(report.honoured.passtos);
        assert_eq!(report.without_effect, []);
        for unset in ["txqueuelen 0", "txqueuelen -4", "txqueuelen 99999999999"] {
            assert_eq!(of(unset).honoured.txqueuelen, None, "{unset}");
        }
    }

    /// faults E5: in one line each, in the order of the file.
    #[test]
    fn options_without_effect_are_named_once_where_they_were_last_given() {
        let file = "shaper 1000\nblock-ipv6\nclient-nat snat a b c\nverb 3\nshaper 2000\n";
        assert_eq!(
            named(file),
            [
                "block-ipv6 (c.conf:2)",
                "client-nat (c.conf:3)",
                "shaper (c.conf:5)"
            ]
        );
        let line = of("shaper 1").without_effect[0].to_string();
        assert_eq!(
            line,
            "with offload, shaper (c.conf:1) has no effect: nothing is slowed down; limit the device with `tc` instead"
        );
    }

    #[test]
    fn ping_is_named_only_if_it_is_alone() {
        assert_eq!(named("ping 10"), ["ping (c.conf:1)"]);
        assert_eq!(named("ping-restart 60"), ["ping-restart (c.conf:1)"]);
        for whole in [
            "ping 10\nping-restart 60",
            "ping 10\nping-exit 60",
            "keepalive 10 60",
            "client\nping 10",
        ] {
            assert!(named(whole).is_empty(), "{whole}");
        }
    }

    #[test]
    fn passtos_is_named_where_the_transport_is_tcp() {
        for tcp in [
            "passtos\nproto tcp-client",
            "passtos\nremote a 443 tcp",
            "passtos\n<connection>\nremote a 443 tcp4\n</connection>",
        ] {
            assert_eq!(named(tcp), ["passtos (c.conf:1)"], "{tcp}");
        }
        assert!(named("passtos\nproto udp").is_empty());
    }
}
