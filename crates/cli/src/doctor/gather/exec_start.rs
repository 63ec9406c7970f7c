//! The words of a unit's command. `systemctl show` joins them with spaces, so the bus is asked for them one by one: systemd
//! has resolved quotation marks, escapes and specifiers.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::answer;

/// The words of the command of a loaded unit with this full name; `None` where `busctl` does not say.
pub(super) fn words(id: &str, patience: Duration) -> Option<Vec<String>> {
    let mut busctl = Command::new("busctl");
    busctl.args(["--json=short", "get-property", "org.freedesktop.systemd1"]);
    busctl.arg(format!("/org/freedesktop/systemd1/unit/{}", label(id)));
    busctl.args(["org.freedesktop.systemd1.Service", "ExecStart"]);
    let answer = answer::of(&mut busctl, patience).ok()?;
    of_property(&answer.stdout).filter(|_| answer.is_success)
}

/// `{"type":"a(sasbttttuii)","data":[["/bin/a",["/bin/a","b c"],false,…]]}`
fn of_property(text: &str) -> Option<Vec<String>> {
    let property: Value = serde_json::from_str(text).ok()?;
    let words = property["data"][0][1].as_array()?.iter();
    words.map(|word| Some(word.as_str()?.to_owned())).collect()
}

/// A name as a part of an object's path.
fn label(name: &str) -> String {
    let mut label = String::new();
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'0'..=b'9' if at > 0 => label.push(byte.into()),
            b'A'..=b'Z' | b'a'..=b'z' => label.push(byte.into()),
            byte => label.push_str(&format!("_{byte:02x}")),
        }
    }
    label
}

/// Words as a unit's file has them. A `$` stays: systemd resolves variables only when it starts the command.
pub(super) fn line(words: &[String]) -> String {
    let words = words.iter().map(|word| quoted(&word.replace('%', "%%")));
    words.collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_special =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\');
    if !word.is_empty() && word != ";" && !word.contains(is_special) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_the_bus_has_them() {
        let text = r#"{"type":"a(sasbttttuii)","data":[["/usr/sbin/openvpn",["openvpn","--config","my \"o\" ; office.conf",""],
            false,0,0,0,0,0,0,0],["/bin/b",["b"],false,0,0,0,0,0,0,0]]}"#;
        let words = of_property(text).unwrap();
        assert_eq!(words, ["openvpn", "--config", "my \"o\" ; office.conf", ""]);
        for other in ["", "{}", r#"{"data":[]}"#, r#"{"data":[["a",[1]]]}"#, "[]"] {
            assert_eq!(of_property(other), None, "{other}");
        }
    }

    #[test]
    fn a_unit_is_an_object_of_the_bus() {
        assert_eq!(
            label("openvpn-server@office.service"),
            "openvpn_2dserver_40office_2eservice"
        );
        assert_eq!(label("6to4.service"), "_36to4_2eservice");
    }

    #[test]
    fn words_are_quoted_as_systemd_reads_them() {
        for (word, wanted) in [
            ("office.conf", "office.conf"),
            ("my office.conf", "\"my office.conf\""),
            ("it's", "\"it's\""),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("100%", "100%%"),
            ("$OPTIONS", "$OPTIONS"),
            ("a\nb", "\"a\\u000ab\""),
            ("", "\"\""),
            (";", "\";\""),
        ] {
            assert_eq!(line(&[word.to_owned()]), wanted);
        }
        assert_eq!(line(&["a".into(), "b c".into()]), "a \"b c\"");
    }
}
