use super::*;

const DEBIAN: &str = "LoadState=loaded\nMainPID=712\nExecStart={ path=/usr/sbin/openvpn ; argv[]=/usr/sbin/openvpn \
    --status /run/openvpn-server/status-office.log --config office.conf ; ignore_errors=no ; pid=712 }\n\
    WorkingDirectory=/etc/openvpn/server\nUser=\nEnvironment=\nLimitNOFILESoft=1024\nLimitNPROCSoft=10\nLimitASSoft=infinity\nLimitDATASoft=67108864\nTasksMax=infinity\n\
    CapabilityBoundingSet=cap_net_admin cap_setgid cap_setuid\nAmbientCapabilities=\nPrivateDevices=no\n\
    DevicePolicy=auto\nDeviceAllow=/dev/null rw\nDeviceAllow=/dev/net/tun rw\nRestrictAddressFamilies=\n";

#[test]
fn what_systemctl_prints_is_read() {
    let unit = Properties::of(DEBIAN);
    let (words, way) = unit.words();
    assert_eq!(words.last().unwrap(), "office.conf");
    assert_eq!(words.len(), 5);
    assert_eq!(way, Way::Plain);
    assert_eq!(unit.directory(), PathBuf::from("/etc/openvpn/server"));
    let starter = unit.starter();
    let rights = starter.rights.unwrap();
    assert!(starter.is_root && rights.net_admin && !rights.setpcap);
    let limits = unit.limits();
    assert_eq!((limits.open_files, limits.tasks), (Some(1024), None));
    assert_eq!(limits.memory, Some(64 << 20));
    let is_exempt = machine::is_exempt(0);
    assert_eq!(limits.processes, Some(10).filter(|_| !is_exempt));
    let loaded = unit.loaded();
    assert_eq!(loaded.main, Some(712));
    assert!(!loaded.denies_tun && loaded.denied_families.is_empty());
}

#[test]
fn udco_is_seen_in_the_command_or_in_the_environment() {
    let of = |line: &str| Properties::of(line).words().1;
    assert_eq!(
        of("ExecStart={ argv[]=/bin/udco run -- openvpn a ; x }"),
        Way::Run
    );
    assert_eq!(
        of(
            "ExecStart={ argv[]=openvpn a ; x }\nEnvironment=LD_PRELOAD=/usr/lib/udco/libudco_preload.so"
        ),
        Way::Preload
    );
}

#[test]
fn words_of_the_bus_are_preferred() {
    let mut unit = Properties::of(DEBIAN);
    let command = [
        "/bin/udco",
        "run",
        "--",
        "openvpn",
        "--config",
        "my office.conf",
    ];
    unit.words = Some(command.map(Into::into).to_vec());
    let (words, way) = unit.words();
    assert_eq!(
        (words.last().unwrap().to_str(), way),
        (Some("my office.conf"), Way::Run)
    );
    let loaded = unit.loaded();
    assert!(
        loaded.is_exact && loaded.command.ends_with("\"my office.conf\""),
        "{loaded:?}"
    );
}

#[test]
fn a_shared_engine_is_found() {
    let of = |line: &str| Properties::of(line).engine();
    let socket = Some(PathBuf::from("/run/udco/engine.sock"));
    let run =
        "ExecStart={ argv[]=udco run --engine /run/udco/engine.sock -- openvpn --engine x ; }";
    assert_eq!(of(run), socket);
    let variables =
        "ExecStart={ argv[]=openvpn a ; }\nEnvironment=A=1 UDCO_SOCKET=/run/udco/engine.sock";
    assert_eq!(of(variables), socket);
    assert_eq!(of("ExecStart={ argv[]=openvpn --engine dynamic ; }"), None);
}

#[test]
fn a_sandbox_is_looked_through() {
    for (text, denies, families) in [
        ("PrivateDevices=yes", true, 0),
        ("DevicePolicy=closed", true, 0),
        ("DeviceAllow=/dev/null rw", true, 0),
        ("PrivateDevices=yes\nDeviceAllow=/dev/net/tun rw", false, 0),
        ("RestrictAddressFamilies=AF_INET AF_INET6", false, 2),
        ("RestrictAddressFamilies=~AF_NETLINK", false, 1),
        ("RestrictAddressFamilies=~AF_PACKET", false, 0),
    ] {
        let loaded = Properties::of(text).loaded();
        assert_eq!(loaded.denies_tun, denies, "{text}");
        assert_eq!(loaded.denied_families.len(), families, "{text}");
    }
}

#[test]
fn prefixes_of_the_command_count() {
    let of = |name: &str, flags: &str| {
        Properties::of(&format!(
            "ExecStart={{ path=/usr/sbin/openvpn ; argv[]=x ; ignore_errors=no }}\n\
             ExecStartEx={{ path=/usr/sbin/openvpn ; argv[]={name} --config a --setenv flags=x ; flags={flags} ; start_time=[n/a] }}\n\
             User=nobody\nCapabilityBoundingSet=\nAmbientCapabilities=\nRestrictAddressFamilies=AF_INET"
        ))
    };
    for (flags, prefixes, is_root, knows_rights, denied) in [
        ("", "", false, true, 2),
        ("ignore-failure", "-", false, true, 2),
        ("ignore-failure no-env-expand", "-:", false, true, 2),
        ("privileged", "+", true, false, 0),
        ("no-setuid", "!", true, true, 2),
        ("ambient", "!!", false, true, 2),
    ] {
        let unit = of("/usr/sbin/openvpn", flags);
        let (starter, loaded) = (unit.starter(), unit.loaded());
        assert_eq!(loaded.prefixes, prefixes, "{flags}");
        assert_eq!(starter.is_root, is_root, "{flags}");
        assert_eq!(starter.rights.is_some(), knows_rights, "{flags}");
        assert_eq!(unit.account().is_none(), is_root, "{flags}");
        assert_eq!(loaded.denied_families.len(), denied, "{flags}");
    }
    // `@`: the first word is another name.
    let mut renamed = of("office", "");
    assert_eq!(
        renamed.command(),
        "/usr/sbin/openvpn --config a --setenv flags=x"
    );
    renamed.words = Some(renamed.with_program(vec!["my office".into(), "a b".into()]));
    assert_eq!(renamed.command(), "/usr/sbin/openvpn \"a b\"");
}

#[test]
fn variables_of_the_command_are_replaced() {
    let name = format!("udco-doctor-environment-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, "OPTIONS=\"--config b.conf\"\n").unwrap();
    let of = |flags: &str, files: &str| {
        let mut unit = Properties::of(&format!(
            "ExecStartEx={{ path=/bin/openvpn ; argv[]=/bin/openvpn --status ${{RUNTIME_DIRECTORY}}/s $OPTIONS ; flags={flags} }}\n\
             RuntimeDirectory=vpn\nEnvironment=A=1 \"OPTIONS=--config 'a b.conf'\"\n{files}"
        ));
        unit.read_environment_files();
        let words = unit
            .words()
            .0
            .into_iter()
            .map(|it| it.into_string().unwrap());
        (words.skip(2).collect::<Vec<_>>(), unit.unusable())
    };
    let both = |config: &str| {
        ["/run/vpn/s", "--config", config]
            .map(str::to_owned)
            .to_vec()
    };
    let there = format!("EnvironmentFiles={} (ignore_errors=no)", file.display());
    let missing = |ignored| format!("EnvironmentFiles=/no/such/file (ignore_errors={ignored})");
    assert_eq!(of("", ""), (both("a b.conf"), Vec::new()));
    assert_eq!(of("", &there), (both("b.conf"), Vec::new()));
    assert_eq!(of("", &missing("yes")).1, []);
    let unusable = of("", &format!("{there}\n{}", missing("no"))).1;
    assert_eq!(unusable.len(), 1);
    assert_eq!(unusable[0].state, crate::doctor::facts::FileState::Missing);
    let plain = of("no-env-expand", &there).0;
    assert_eq!(plain, ["${RUNTIME_DIRECTORY}/s", "$OPTIONS"]);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_dynamic_user_is_not_root() {
    let of = |more: &str| {
        let text = format!("DynamicUser=yes\nAmbientCapabilities=cap_net_admin\n{more}");
        let unit = Properties::of(&text);
        let account = unit.account().map(|(account, _)| account.is_dynamic);
        (unit.starter().is_root, unit.identity().uid, account)
    };
    let dynamic = (false, crate::doctor::gather::access::DYNAMIC, Some(true));
    assert_eq!(of("User="), dynamic);
    assert_eq!(of("User=no-such-user"), dynamic);
    assert_eq!(
        of("ExecStartEx={ path=a ; argv[]=a ; flags=privileged }"),
        (true, 0, None)
    );
    let (is_root, _, account) = of("User=nobody");
    assert_eq!((is_root, account), (false, Some(false)));
}
