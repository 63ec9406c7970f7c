//! The comparison must fail where it compares nothing, or where udco is wrong in a way that no byte shows (faults F4).

use std::path::{Path, PathBuf};
use std::process::Command;

/// A multi-peer device, a peer with a timeout of one second, and a wait for its end, which was recorded after a minute.
const EXPIRY: &str = r#"[{"name": "early_expiry", "vars": {"family": 21, "group_peers": 4, "nl_pid": {"g": 1001, "n": 1002, "r": 1003}}, "steps": [
{"d":"MP","op":"nl","on":"r","req":"48000000100005060100000000000000000000000000000000000000000000000900030074756e30000000001c001200090001006f76706e000000000c0002000500010001000000","rx":["240000000200000101000000eb0300000000000048000000100005060100000000000000"]},
{"d":"UDP","op":"udp","fd":101,"bind":["127.0.0.1",5001]},
{"d":"PEER_NEW","op":"nl","on":"g","req":"580000001500050002000000000000000100000008000100020000003c0002800800010001000000080002007f0000010600050017710000080006006500000008000d000100000008000e0001000000080008000a090002","rx":["240000000200000102000000e90300000000000058000000150005000200000000000000"]},
{"d":"its end","op":"wait","max_s":5,"arrived_s":[ARRIVED],"ntf":["300000001500000000000000000000000501000008000100020000001400028008000f00020000000800010001000000"]}
]}]"#;

/// A folder with one transcript, which is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, transcript: &str) -> Self {
        let folder = format!("udco-golden-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("one.json"), transcript).expect("a file");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether the test, run again on the recordings in a folder, passes.
fn passes(folder: &Path, around: &[&str]) -> bool {
    let this = std::env::current_exe().expect("a path");
    let words: Vec<_> = around.iter().map(AsRef::as_ref).collect();
    let words = [words, vec![this.as_os_str()]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args([
        "--exact",
        "golden_transcripts_are_answered_as_the_kernel_answered",
    ]);
    let output = command.env("GOLDEN_DIR", folder).output();
    output.expect("the test").status.success()
}

#[test]
fn golden_folder_that_compares_nothing_fails() {
    let empty = Folder::with("empty", "[]");
    assert!(!passes(&empty.0, &[]));
    let nothing = Folder::with(
        "nothing",
        r#"[{"name": "x", "vars": {"nl_pid": {}}, "steps": []}]"#,
    );
    assert!(!passes(&nothing.0, &[]));
    std::fs::remove_file(nothing.0.join("one.json")).expect("a file");
    assert!(!passes(&nothing.0, &[]));
}

#[test]
fn golden_expiry_that_comes_too_early_fails() {
    if super::unshare().is_none() {
        return super::skip("no network namespace, or no /dev/net/tun, for an early expiry");
    }
    let due = Folder::with("due", &EXPIRY.replace("ARRIVED", "1.1"));
    assert!(passes(&due.0, &[]));
    let early = Folder::with("early", &EXPIRY.replace("ARRIVED", "60"));
    assert!(!passes(&early.0, &[]));
}

#[test]
fn golden_folder_without_a_tun_device_fails() {
    // Another file system in its place, in a mount namespace.
    let hidden = "mount -t tmpfs none /dev/net && exec \"$0\" \"$@\"";
    let hide = ["unshare", "-m", "sh", "-c", hidden];
    let can_hide = Command::new(hide[0]).args(&hide[1..]).arg("true").status();
    if !can_hide.is_ok_and(|status| status.success()) {
        return super::skip("cannot hide /dev/net/tun here: no mount namespace");
    }
    let due = Folder::with("hidden", &EXPIRY.replace("ARRIVED", "1.1"));
    assert!(!passes(&due.0, &hide));
}
