//! As much of OpenVPN's options as decides whether offload is possible at all.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Whether an OpenVPN started with these arguments may use TCP: by `--proto`, by a `remote` with a protocol of its own,
/// or by such lines in a configuration file. A file that cannot be read says nothing; OpenVPN will complain.
pub(crate) fn may_use_tcp(arguments: &[OsString]) -> bool {
    let words: Vec<&str> = arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .collect();
    let mut files = words
        .iter()
        .zip(words.iter().skip(1))
        .filter(|(word, _)| **word == "--config");
    // `openvpn FILE` is short for `openvpn --config FILE`.
    let lone = words.get(1).filter(|_| words.len() == 2);
    let by_file = files.any(|(_, file)| file_may_use_tcp(Path::new(file)))
        || lone.is_some_and(|file| file_may_use_tcp(Path::new(file)));
    // An option's words reach up to the next option.
    let options = words.chunk_by(|_, next| !next.starts_with("--"));
    by_file || options.into_iter().any(words_use_tcp)
}

fn file_may_use_tcp(file: &Path) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        words_use_tcp(&line.split_whitespace().collect::<Vec<_>>())
    })
}

/// Whether the words of an option make the transport TCP: `proto tcp…`, `remote HOST PORT tcp…`.
fn words_use_tcp(words: &[&str]) -> bool {
    match words {
        [option, proto, ..] if is(option, "proto") => proto.starts_with("tcp"),
        [option, _, _, proto, ..] if is(option, "remote") => proto.starts_with("tcp"),
        _ => false,
    }
}

/// Options may be written with or without dashes.
fn is(word: &str, option: &str) -> bool {
    word.strip_prefix("--").unwrap_or(word) == option
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_use_tcp_with(words: &[&str]) -> bool {
        let arguments: Vec<OsString> = words.iter().map(Into::into).collect();
        may_use_tcp(&arguments)
    }

    #[test]
    fn the_protocol_is_found_on_the_command_line() {
        assert!(may_use_tcp_with(&[
            "openvpn",
            "--dev",
            "tun",
            "--proto",
            "tcp-client"
        ]));
        assert!(may_use_tcp_with(&[
            "openvpn", "--verb", "3", "--remote", "host", "443", "tcp"
        ]));
        assert!(!may_use_tcp_with(&[
            "openvpn",
            "--proto",
            "udp",
            "--remote",
            "tcp.example",
            "443"
        ]));
        assert!(!may_use_tcp_with(&["openvpn", "--config", "/no/such/file"]));
    }

    #[test]
    fn the_protocol_is_found_in_a_file() {
        let dir = std::env::temp_dir().join(format!("udco-options-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let files = [
            ("port 1194\nproto tcp-server # as always\n", true),
            ("remote host 443 tcp4\n", true),
            ("; proto tcp\nproto udp6\nremote tcp 443\n", false),
        ];
        for (text, tcp) in files {
            let path = dir.join("it.conf");
            fs::write(&path, text).unwrap();
            let path = path.to_str().unwrap();
            assert_eq!(
                may_use_tcp_with(&["openvpn", "--config", path]),
                tcp,
                "{text}"
            );
            assert_eq!(may_use_tcp_with(&["openvpn", path]), tcp, "{text}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
