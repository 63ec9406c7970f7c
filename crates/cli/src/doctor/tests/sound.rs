//! Sound set-ups: no finding asks for a fix.

use udco_netlink::route::Preference::{High, Low, Medium};
use udco_state::{Offload, Severity};

use super::{CLIENT, Change, SERVER, diagnose, exit_code, flaws, link, route, route6, sound};
use crate::doctor::facts::{
    Certificate, Facts, FileState, KernelDriver, Loaded, NamedFile, Release, Rights, Serves,
    Subject, Unit, Way,
};

#[test]
fn nothing_is_named_in_sound_set_ups() {
    let cases: [(&str, String, Change); 22] = [
        ("a client", CLIENT.into(), |_| ()),
        ("a server", SERVER.into(), |_| ()),
        ("2.7", CLIENT.into(), |it| {
            it.launch.release = Some(Release(2, 7))
        }),
        (
            "2.7's default topology",
            SERVER.replace("topology subnet\n", ""),
            |it| it.launch.release = Some(Release(2, 7)),
        ),
        (
            "its own user",
            format!("{CLIENT}user nobody\ngroup nogroup\npersist-tun"),
            |_| (),
        ),
        (
            "compress migrate",
            format!("{SERVER}compress migrate\npush \"compress migrate\""),
            |_| (),
        ),
        (
            "overridden",
            format!("{CLIENT}dev tap\ndata-ciphers AES-256-CBC\ndev tun\ndata-ciphers AES-256-GCM"),
            |_| (),
        ),
        (
            "all ciphers",
            format!(
                "{CLIENT}data-ciphers AES-256-GCM:AES-192-GCM:AES-128-GCM:?CHACHA20-POLY1305:?BF-CBC\ncipher AES-256-CBC"
            ),
            |_| (),
        ),
        (
            "honoured",
            format!("{CLIENT}mssfix 1300\npasstos\ntxqueuelen 500\ntun-mtu 1400"),
            |_| (),
        ),
        (
            "inline",
            format!("{CLIENT}<ca>\nfragment 1300\n</ca>\n<tls-crypt>\ndisable-dco\n</tls-crypt>"),
            |_| (),
        ),
        (
            "a server without forwarding that needs none",
            SERVER.into(),
            |it| it.network.forwards4 = Some(false),
        ),
        (
            "two uplinks",
            format!("{CLIENT}redirect-gateway def1"),
            |it| {
                it.network.defaults.push(route("wlan0", 600));
                it.network.defaults6.push(route6("wlan0", 2048, Medium));
            },
        ),
        (
            "two uplinks of IPv6 with different preferences",
            CLIENT.into(),
            |it| {
                let defaults = &mut it.network.defaults6;
                defaults.push(route6("wlan0", 1024, High));
                defaults.push(route6("wlan1", 1024, Low));
            },
        ),
        ("a device of a free number", CLIENT.into(), |it| {
            it.network.links.push(link("tun", Serves::Other))
        }),
        (
            "a device of an engine that denies this user access",
            format!("{CLIENT}dev tun0"),
            |it| it.network.links.push(link("tun0", Serves::Silent)),
        ),
        (
            "a device that was left, or whose engine denies this user access",
            format!("{CLIENT}dev tun0"),
            |it| it.network.links.push(link("tun0", Serves::Unsure)),
        ),
        (
            "another tunnel's default route",
            format!("{CLIENT}redirect-gateway"),
            |it| {
                it.network.links.push(link("tun5", Serves::Engine));
                it.network.defaults.push(route("tun5", 100));
                it.network.defaults6.push(route6("tun5", 1024, Medium));
            },
        ),
        (
            "a unit that the kernel's driver serves",
            CLIENT.into(),
            |it| {
                it.subject = Subject::Unit("openvpn-client@c".into());
                it.launch.way = Way::Plain;
                it.launch.library = Err("is missing".into());
                it.unit = Some(Unit::Loaded(Loaded::default()));
                it.machine.kernel.driver = KernelDriver::Loadable("ovpn");
            },
        ),
        ("a unit with udco", CLIENT.into(), |it| {
            it.subject = Subject::Unit("openvpn-client@c".into());
            it.unit = Some(Unit::Loaded(Loaded::default()));
        }),
        ("a drop-in with the library", CLIENT.into(), |it| {
            it.subject = Subject::Unit("openvpn-client@c".into());
            it.launch.way = Way::Preload;
            it.unit = Some(Unit::Loaded(Loaded::default()));
        }),
        (
            "an ordinary user's rights are not known before",
            format!("{CLIENT}user nobody"),
            |it| it.starter.rights = None,
        ),
        ("good files", CLIENT.into(), |it| {
            it.certificates = vec![Certificate {
                option: "ca".into(),
                not_before: 0,
                not_after: 4_000_000_000,
            }];
            for (mode, is_secret) in [(0o600, true), (0o640, true), (0o644, false)] {
                it.files.push(NamedFile {
                    option: "key".into(),
                    path: "/k".into(),
                    is_secret,
                    state: FileState::Good(mode),
                    beside: None,
                });
            }
        }),
    ];
    for (case, config, change) in cases {
        let mut facts = sound(&config);
        change(&mut facts);
        let diagnosis = diagnose(&facts);
        assert_eq!(
            flaws(&diagnosis),
            Vec::<&str>::new(),
            "{case}: {diagnosis:#?}"
        );
        assert_eq!(diagnosis.offload, Offload::WouldBeOn, "{case}");
        assert_eq!(diagnosis.reasons, Vec::<String>::new(), "{case}");
        assert_eq!(exit_code(&diagnosis), 0, "{case}");
    }
}

#[test]
fn a_machine_alone_can_be_sound() {
    let mut facts = sound("");
    facts.subject = Subject::Machine;
    facts.reading = None;
    let diagnosis = diagnose(&facts);
    assert_eq!(flaws(&diagnosis), Vec::<&str>::new());
    let worse = diagnosis.findings.iter().map(|it| it.severity);
    assert!(worse.eq([Severity::Ok; 3]), "{diagnosis:#?}");
}

/// What an old kernel costs, or which driver would win, is said, and is no flaw.
#[test]
fn what_is_worth_knowing_is_said() {
    let said = |change: fn(&mut Facts)| {
        let mut facts = sound(CLIENT);
        change(&mut facts);
        let diagnosis = diagnose(&facts);
        assert_eq!(exit_code(&diagnosis), 0, "{diagnosis:#?}");
        let infos = diagnosis
            .findings
            .into_iter()
            .filter(|it| it.severity == Severity::Info);
        infos
            .map(|it| format!("{}: {}", it.about, it.means))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let old = said(|it| it.machine.kernel.release = (5, 10));
    for word in ["6.4", "6.2", "5.14"] {
        assert!(old.contains(word), "{old}");
    }
    assert!(said(|it| it.machine.kernel.has_landlock = false).contains("Landlock"));
    assert!(said(|it| it.machine.kernel.has_seccomp = false).contains("seccomp"));
    let driver = said(|it| it.machine.kernel.driver = KernelDriver::Loaded("ovpn"));
    assert!(
        driver.contains("udco serves what `udco run` starts"),
        "{driver}"
    );
    assert!(said(|it| it.launch.release = Some(Release(3, 0))).contains("never tested"));
    let mtu = said(|_| ());
    assert!(mtu.contains("the device's MTU is 1500"), "{mtu}");
    let rights = |it: &mut Facts| {
        it.starter.rights = Some(Rights {
            net_admin: true,
            setpcap: false,
        })
    };
    assert!(
        !said(rights).contains("CAP_SETPCAP"),
        "without `user`, nothing is lost"
    );
}
