//! The commands of cures: they do no harm.

use super::broken_machines::file;
use super::{CLIENT, diagnose, link, path, sound};
use crate::doctor::facts::{FileState, Serves};

/// The advice is one that keeps what can stay.
#[test]
fn the_cure_of_a_cipher_keeps_the_others() {
    let facts = sound(&format!(
        "{CLIENT}data-ciphers AES-256-CBC:CHACHA20-POLY1305:aes-128-gcm\n"
    ));
    let diagnosis = diagnose(&facts);
    let cure = &diagnosis.findings[0].cure[0];
    assert!(
        cure.contains("`data-ciphers CHACHA20-POLY1305:aes-128-gcm`"),
        "{cure}"
    );
}

/// Whoever reads the key now must still be able to.
#[test]
fn a_key_is_not_taken_from_openvpn() {
    let cure = |config: &str, is_root| {
        let mut facts = sound(config);
        facts.starter.is_root = is_root;
        facts.files = vec![file(FileState::Good(0o644))];
        diagnose(&facts).findings[0].cure.join("\n")
    };
    assert_eq!(cure(CLIENT, true), "`chmod o= /etc/openvpn/c.key`");
    assert!(cure(CLIENT, false).contains("once the file belongs to"));
    let user = format!("{CLIENT}user nobody\n");
    assert!(cure(&user, true).starts_with("give `persist-key`"));
    assert!(cure(&format!("{user}persist-key\n"), true).starts_with("`chmod"));
}

/// A line that is copied to a shell runs nothing but what it shows.
#[test]
fn odd_names_are_quoted_in_cures() {
    let mut facts = sound(CLIENT);
    facts.network.links.push(link("a;reboot", Serves::Nothing));
    let diagnosis = diagnose(&facts);
    let cure = diagnosis.findings[0].cure.join("\n");
    assert!(cure.contains("`ip link del 'a;reboot'`"), "{cure}");
    let mut exposed = file(FileState::Good(0o644));
    exposed.path = path("/etc/it's $(id)");
    facts.files = vec![exposed];
    let diagnosis = diagnose(&facts);
    let cures: String = diagnosis
        .findings
        .iter()
        .flat_map(|it| it.cure.clone())
        .collect();
    assert!(cures.contains(r"chmod o= '/etc/it'\''s $(id)'"), "{cures}");
}
