//! The files of `client-config-dir`.

use std::path::Path;

use udco_options::read;
use udco_state::{Offload, Severity};

use super::{Facts, SERVER, diagnose, flaws, has_one_flaw, path, sound};
use crate::doctor::facts::{Clients, Release};

/// A server with one client's file.
fn server(more: &str, file: &str) -> Facts {
    let mut facts = sound(&format!("{SERVER}client-config-dir ccd\n{more}"));
    let open = |_: &Path| Ok(file.as_bytes().to_vec());
    facts.clients = Some(Clients {
        option: "client-config-dir (c.conf:8)".into(),
        directory: path("/etc/openvpn/ccd"),
        denied: None,
        files: vec![read(&["/ccd/a".into()], Path::new("/"), open).settings],
    });
    facts
}

#[test]
fn options_that_matter_are_named_where_they_are() {
    for (file, name, severity, cure) in [
        (
            "ifconfig-push 10.8.0.5 10.8.0.6",
            "topology",
            Severity::Warning,
            "`ifconfig-push 10.8.0.5 255.255.255.0`",
        ),
        (
            "push \"comp-lzo no\"",
            "pushed-compression",
            Severity::Warning,
            "in the server's own configuration",
        ),
        (
            "push compress lz4",
            "pushed-compression",
            Severity::Warning,
            "remove this line",
        ),
        (
            "push \"disable-dco\"",
            "disable-dco",
            Severity::Warning,
            "in the client's own configuration",
        ),
        (
            "disable-dco",
            "disable-dco",
            Severity::Error,
            "remove this line",
        ),
        (
            "comp-lzo no",
            "compression",
            Severity::Warning,
            "in the server's own configuration",
        ),
        (
            "compress lz4-v2",
            "compression",
            Severity::Warning,
            "remove this line",
        ),
    ] {
        let facts = server("", file);
        has_one_flaw(&facts, name, severity, Offload::WouldBeOn, file);
        let first = &diagnose(&facts).findings[0];
        assert!(first.about.ends_with("(/ccd/a:1)"), "{first:?}");
        assert!(first.cure[0].contains(cure), "{first:?}");
        // OpenVPN's own data path bears it, but not the clients, which have offload.
        let off = server("disable-dco", file);
        let is_of_client = file.contains("ifconfig") || file.starts_with("push");
        assert_eq!(flaws(&diagnose(&off)).len(), 1 + usize::from(is_of_client));
    }
    for file in [
        "ifconfig-push 10.8.0.5 255.255.255.0",
        "ifconfig-push 10.8.0.5 255.255.255.252",
        "ifconfig-push a b",
        "comp-lzo no\ncompress migrate",
        "push \"compress migrate\"",
        "allow-compression yes",
        "push \"route 10.0.0.0 255.0.0.0\"\niroute 192.168.7.0 255.255.255.0\ndisable",
        "",
    ] {
        assert_eq!(
            flaws(&diagnose(&server("", file))),
            Vec::<&str>::new(),
            "{file}"
        );
    }
}

#[test]
fn a_client_without_offload_ends_a_server_of_2_6_only() {
    let mut facts = server("", "disable-dco");
    facts.launch.release = Some(Release(2, 7));
    let warning = Severity::Warning;
    has_one_flaw(&facts, "disable-dco", warning, Offload::WouldBeOn, "2.7");
}

#[test]
fn files_that_openvpn_cannot_read_once_it_runs_are_named() {
    for (more, means) in [
        ("", "as if they had no file"),
        ("ccd-exclusive", "refuses the clients"),
    ] {
        let mut facts = server(more, "");
        let clients = facts.clients.as_mut().unwrap();
        clients.denied = Some(("nobody".into(), path("/etc/openvpn/ccd")));
        has_one_flaw(&facts, "file", Severity::Warning, Offload::WouldBeOn, more);
        let first = &diagnose(&facts).findings[0];
        assert!(first.means.contains(means), "{first:?}");
        assert_eq!(first.cure, ["`setfacl -R -m u:nobody:rX /etc/openvpn/ccd`"]);
        // Keys lie beside it.
        let clients = facts.clients.as_mut().unwrap();
        clients.denied = Some(("nobody".into(), path("/etc/openvpn")));
        let first = &diagnose(&facts).findings[0];
        assert_eq!(first.cure, ["`setfacl -m u:nobody:x /etc/openvpn`"]);
    }
}
