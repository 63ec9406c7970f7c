//! `cargo xtask instructions`: how many instructions a whole guest executes for the kernel's driver, for udco and for
//! OpenVPN's own data path.
//!
//! Neither the machine nor its neighbours change such a number. An instruction is not a nanosecond, though: caches, switches
//! and what a virtual machine pays for a timer are not in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::{Credentials, Pki};

use super::guest::{Guest, Kernel, Processors};
use super::{build, program, watch};
use crate::bench::{TUNED, middle};
use crate::{check, page, step};

/// What the guest does.
const SCRIPT: &str = include_str!("instructions.sh");

/// The page that shows the last result.
const PAGE: &str = "docs/performance.md";

/// Longest time for a round.
const LIMIT: Duration = Duration::from_secs(600);

/// What carries the packets, as the script and the page name it.
const SUBJECTS: [(&str, &str); 4] = [
    ("bare", "no tunnel"),
    ("kernel", "kernel driver"),
    ("udco", "udco"),
    ("openvpn", "OpenVPN, tuned"),
];

/// The loads, as the script and the page name them.
const LOADS: [(&str, &str); 3] = [
    ("stream", "a TCP stream, per MiB"),
    ("datagrams", "UDP 1,350 B at 100 Mbit/s, per packet"),
    ("small", "UDP 64 B at 5 Mbit/s, per packet"),
];

/// What is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each is counted.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// MiB of the stream.
    #[arg(long, default_value_t = 64)]
    mib: u32,
    #[command(flatten)]
    kernel: Kernel,
    /// Replace the table in docs/performance.md.
    #[arg(long)]
    write_docs: bool,
}

/// Instructions for each MiB or packet delivered, by subject and load, one number for each round.
type Counts = BTreeMap<(String, String), Vec<f64>>;

/// Builds, boots the guest, and prints a line for each load.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        options.rounds > 0 && options.mib > 0,
        "no round, no figure; no byte, no stream"
    );
    let udco = build()?;
    let target = check::target()?;
    let guest = Guest::unpack(&target, &options.kernel)?;
    let programs = [
        udco,
        program("ip")?,
        program("iperf3")?,
        program("openvpn")?,
    ];
    let programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();
    let initramfs = guest.initramfs(SCRIPT, &programs, &configurations(&target)?)?;
    let variables = format!("rounds={} mib={}", options.rounds, options.mib);
    let (mut counts, mut failed, mut is_done) = (Counts::new(), Vec::new(), false);
    watch(
        guest.boot(&initramfs, Processors::Counting, &variables)?,
        LIMIT * options.rounds,
        |line| {
            is_done |= line == "DONE";
            if line.starts_with("FAIL ") {
                failed.push(line.to_owned());
            }
            if let Some((key, count)) = read(line) {
                counts.entry(key).or_default().push(count);
            }
        },
    )?;
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    ensure!(is_done, "the guest did not come to its end");
    let table = table(&counts)?;
    println!("Linux {}\n\n{table}", guest.kernel);
    if options.write_docs {
        let date = step::first_line("date", &["-u", "+%Y-%m-%d"]);
        let (rounds, mib) = (options.rounds, options.mib);
        let said = format!(
            "Last run: {date}, Linux {}, medians of {rounds} rounds, {mib} MiB.\n\n{table}",
            guest.kernel
        );
        page::publish(Path::new(PAGE), "instructions", &said)?;
    }
    Ok(())
}

/// A line of the script: `COUNT subject load instructions delivered`.
fn read(line: &str) -> Option<((String, String), f64)> {
    let mut words = line.strip_prefix("COUNT ")?.split(' ');
    let (subject, load) = (words.next()?, words.next()?);
    let count: f64 = words.next()?.parse().ok()?;
    let delivered: f64 = words.next()?.parse().ok()?;
    let units = match load {
        "stream" => delivered / f64::from(1 << 20),
        _ => delivered,
    };
    (units > 0.0).then(|| ((subject.to_owned(), load.to_owned()), count / units))
}

/// Medians in thousands, udco's as multiples of others', and how far rounds lie apart.
fn table(counts: &Counts) -> Result<String> {
    let mut text = String::from("| thousands of instructions |");
    for (_, title) in SUBJECTS {
        write!(text, " {title} |")?;
    }
    text.push_str(" udco / kernel driver | less no tunnel | udco / OpenVPN |\n|---|---|---|---|---|---|---|---|\n");
    let mut apart: f64 = 1.0;
    for (load, title) in LOADS {
        let mut of = |subject: &str| {
            let counts = counts.get(&(subject.to_owned(), load.to_owned()));
            let counts = counts.with_context(|| format!("no count of {subject}, {load}"))?;
            let least = counts.iter().copied().fold(f64::INFINITY, f64::min);
            apart = counts.iter().fold(apart, |apart, it| apart.max(it / least));
            let median = middle(counts.clone()).context("no round")?;
            anyhow::Ok(median / 1000.0)
        };
        let (bare, kernel) = (of("bare")?, of("kernel")?);
        let (udco, openvpn) = (of("udco")?, of("openvpn")?);
        writeln!(
            text,
            "| {title} | {bare:.1} | {kernel:.1} | {udco:.1} | {openvpn:.1} | {:.2} | {:.2} | {:.2} |",
            udco / kernel,
            (udco - bare) / (kernel - bare),
            udco / openvpn
        )?;
    }
    writeln!(
        text,
        "\nRounds of one cell differ by a factor of at most {apart:.2}."
    )?;
    Ok(text)
}

/// OpenVPN's configuration at both ends, with fresh certificates.
fn configurations(target: &Path) -> Result<[(&'static str, String); 2]> {
    let directory = target.join("tmp/instructions");
    fs::create_dir_all(&directory)?;
    let pki = Pki::new(&directory)?;
    let ends = [("a", pki.server("a")?), ("b", pki.client("b")?)];
    let [a, b] =
        ends.map(|(name, credentials)| anyhow::Ok((name, configuration(name, &credentials)?)));
    fs::remove_dir_all(&directory)?;
    Ok([a?, b?])
}

fn configuration(name: &str, credentials: &Credentials) -> Result<String> {
    let (role, own, other) = match name {
        "a" => ("tls-server\ndh none", 1, 2),
        _ => ("tls-client", 2, 1),
    };
    let mut text = format!(
        "{role}\ndev tun0\ndev-type tun\ntun-mtu 1416\ndisable-dco\ndata-ciphers AES-256-GCM\n\
         local 192.0.2.{own}\nremote 192.0.2.{other} 1194\nifconfig 10.8.0.{own} 10.8.0.{other}\n{}\n",
        TUNED.join("\n")
    );
    for (tag, path) in [
        ("ca", &credentials.authority),
        ("cert", &credentials.certificate),
        ("key", &credentials.key),
    ] {
        write!(text, "<{tag}>\n{}</{tag}>\n", fs::read_to_string(path)?)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udco_is_compared_with_the_others() {
        let mut counts = Counts::new();
        for (number, (subject, _)) in (1_u32..).zip(SUBJECTS) {
            for (load, delivered) in LOADS.map(|(load, _)| (load, 1 << 20)) {
                for percent in [100, 150, 100] {
                    let executed = (u64::from(number) * percent) << 20;
                    let line = format!("COUNT {subject} {load} {executed} {delivered}");
                    let (key, count) = read(&line).unwrap();
                    counts.entry(key).or_default().push(count);
                }
            }
        }
        let text = table(&counts).unwrap();
        let stream = "MiB | 104857.6 | 209715.2 | 314572.8 | 419430.4 | 1.50 | 2.00 | 0.75 |";
        assert!(text.contains(stream), "{text}");
        let packets = "packet | 0.1 | 0.2 | 0.3 | 0.4 | 1.50 | 2.00 | 0.75 |";
        assert!(text.contains(packets), "{text}");
        assert!(text.ends_with("at most 1.50.\n"), "{text}");
        counts.remove(&("udco".to_owned(), "small".to_owned()));
        assert!(table(&counts).is_err());
        assert_eq!(read("COUNT bare stream many 1"), None);
        assert_eq!(read("COUNT bare small 5 0"), None);
    }
}
