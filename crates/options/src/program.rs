//! Finds OpenVPN in a command, also behind wrappers that start it with the same arguments.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// An OpenVPN that a command starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenVpn<'a> {
    /// Its arguments, without its name.
    pub arguments: &'a [OsString],
    /// The directory in which it is started, if not the command's own.
    pub directory: PathBuf,
}

/// A wrapper: a program that starts another.
struct Wrapper {
    name: &'static str,
    /// Options whose argument is a separate word.
    with_argument: &'static [&'static str],
    /// How many words before the program are not options.
    operands: usize,
}

const fn wrapper(
    name: &'static str,
    with_argument: &'static [&'static str],
    operands: usize,
) -> Wrapper {
    Wrapper {
        name,
        with_argument,
        operands,
    }
}

/// Wrappers with the program behind their options and operands.
const WRAPPERS: [Wrapper; 12] = [
    wrapper("env", &["-u", "--unset", "-C", "--chdir"], 0),
    wrapper("nice", &["-n", "--adjustment"], 0),
    wrapper("ionice", &["-c", "-n", "--class", "--classdata"], 0),
    wrapper("chrt", &["-T", "-P", "-D"], 1),
    wrapper("taskset", &[], 1),
    wrapper("nohup", &[], 0),
    wrapper("setsid", &[], 0),
    wrapper("stdbuf", &["-i", "-o", "-e"], 0),
    wrapper("timeout", &["-k", "-s", "--kill-after", "--signal"], 1),
    wrapper("exec", &["-a"], 0),
    // `ip netns exec NAME`
    wrapper("ip", &["-n", "-netns"], 3),
    // The dynamic loader, whose name has a version: see `is_loader`.
    wrapper("ld.so", &["--library-path", "--preload", "--argv0"], 0),
];

/// How many wrappers in a row are unwrapped.
const MAX_WRAPPERS: usize = 8;

/// The OpenVPN that this command starts, if any. Does not look inside shell scripts.
#[must_use]
pub fn find(command: &[OsString]) -> Option<OpenVpn<'_>> {
    let mut rest = command;
    let mut directory = PathBuf::new();
    for _ in 0..MAX_WRAPPERS {
        let (program, arguments) = rest.split_first()?;
        let name = base_name(program);
        if name == b"openvpn" {
            return Some(OpenVpn {
                arguments,
                directory,
            });
        }
        let known = |wrapper: &&Wrapper| {
            wrapper.name.as_bytes() == name || wrapper.name == "ld.so" && is_loader(name)
        };
        let wrapper = WRAPPERS.iter().find(known)?;
        rest = behind(wrapper, arguments, &mut directory)?;
    }
    None
}

/// The command that a wrapper starts.
fn behind<'a>(
    wrapper: &Wrapper,
    mut arguments: &'a [OsString],
    directory: &mut PathBuf,
) -> Option<&'a [OsString]> {
    let is_env = wrapper.name == "env";
    let mut operands = wrapper.operands;
    while let [first, rest @ ..] = arguments {
        let word = first.as_bytes();
        if word == b"--" {
            arguments = rest;
            break;
        }
        let is_option = word.first() == Some(&b'-');
        let is_variable = is_env && word.contains(&b'=');
        if !is_option && !is_variable && operands == 0 {
            break;
        }
        arguments = rest;
        if is_option {
            let mut value = word.strip_prefix(b"--chdir=").map(OsStr::from_bytes);
            let is_named = |option: &&str| option.as_bytes() == word;
            if wrapper.with_argument.iter().any(is_named) {
                let (next, after) = rest.split_first()?;
                value = Some(next);
                arguments = after;
            }
            match word {
                b"-C" | b"--chdir" if is_env => directory.push(value?),
                _ if is_env && word.starts_with(b"--chdir=") => directory.push(value?),
                // A whole command in one word.
                _ if is_env && (word.starts_with(b"-S") || word.starts_with(b"--split")) => {
                    return None;
                }
                _ => {}
            }
        } else if !is_variable {
            // Of `ip`'s commands only `netns exec` starts a program.
            let is_netns = b"netns".starts_with(word) && word.len() > 2;
            if wrapper.name == "ip" && operands == wrapper.operands && !is_netns {
                return None;
            }
            operands -= 1;
        }
    }
    arguments.get(operands..)
}

fn base_name(program: &OsStr) -> &[u8] {
    let bytes = program.as_bytes();
    bytes.rsplit(|byte| *byte == b'/').next().unwrap_or(bytes)
}

/// Whether this word is a dynamic loader, which loads the program behind it.
#[must_use]
pub fn starts_by_loader(program: &OsStr) -> bool {
    is_loader(base_name(program))
}

fn is_loader(name: &[u8]) -> bool {
    let is_elf = |prefix: &[u8]| name.starts_with(prefix);
    is_elf(b"ld-linux") || is_elf(b"ld-musl") || is_elf(b"ld64.so") || name == b"ld.so"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<OsString> {
        command.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn openvpn_is_found_behind_what_starts_it() {
        for (command, directory) in [
            ("openvpn a b", ""),
            ("/usr/sbin/openvpn a b", ""),
            ("env A=1 -u X B=2 openvpn a b", ""),
            ("env -C /etc/openvpn -i ./openvpn a b", "/etc/openvpn"),
            ("env --chdir=/etc nice -n 5 openvpn a b", "/etc"),
            ("nice -5 ionice -c 2 -n 1 openvpn a b", ""),
            ("ip netns exec red openvpn a b", ""),
            ("/sbin/ip netns exec red env X=y openvpn a b", ""),
            ("nohup setsid openvpn a b", ""),
            ("taskset -c 1 openvpn a b", ""),
            ("timeout -k 5 60 openvpn a b", ""),
            (
                "/lib64/ld-linux-x86-64.so.2 --library-path /lib openvpn a b",
                "",
            ),
        ] {
            let command_words = words(command);
            let found = find(&command_words).unwrap_or_else(|| panic!("{command}"));
            assert_eq!(found.arguments, words("a b"), "{command}");
            assert_eq!(found.directory, PathBuf::from(directory), "{command}");
        }
    }

    #[test]
    fn other_commands_are_left_alone() {
        for command in [
            "",
            "sh -c openvpn",
            "openvpn-wrapper a",
            "env",
            "env -S openvpn",
            "ip link add openvpn",
            "ip netns exec",
            "ip",
            "nice -n",
            "taskset",
            "cat openvpn",
        ] {
            assert_eq!(find(&words(command)), None, "{command}");
        }
        let endless = "env ".repeat(1000) + "openvpn";
        assert_eq!(find(&words(&endless)), None);
    }
}
