//! The machine and the programs behind the figures.

use std::fs;

use serde::Serialize;

use super::vpn::Program;
use crate::step;

/// A machine and its software; empty strings where unknown.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) openvpn: String,
    /// The other VPNs.
    pub(crate) vpns: Vec<String>,
    /// The commit, with `-dirty` if the tree has other changes.
    pub(crate) udco: String,
}

impl Machine {
    pub(crate) fn here(programs: &[Program]) -> Self {
        let openvpn = step::first_line("openvpn", &["--version"]);
        let words: Vec<&str> = openvpn.split_whitespace().take(2).collect();
        Self {
            date: step::first_line("date", &["--utc", "--iso-8601"]),
            kernel: read("/proc/sys/kernel/osrelease"),
            processor: processor(&read("/proc/cpuinfo")),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            openvpn: words.join(" "),
            vpns: programs
                .iter()
                .map(|program| program.version.clone())
                .collect(),
            udco: step::first_line("git", &["describe", "--always", "--dirty"]),
        }
    }
}

/// The processor, with details that distinguish two of the same name.
fn processor(cpuinfo: &str) -> String {
    let word = |name: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(key, value)| (key.trim() == name).then(|| value.trim()))
    };
    let name = word("model name").unwrap_or_default();
    match (word("cpu family"), word("model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name.to_owned(),
    }
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_of_one_name_are_told_apart() {
        let x86 = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\n";
        assert_eq!(processor(x86), "AMD EPYC (family 25, model 17)");
        assert_eq!(processor("processor\t: 0\nBogoMIPS\t: 50.00\n"), "");
    }
}
