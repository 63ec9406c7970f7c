//! A sender of forged ICMP errors, for the test; see `udco_testbed::icmp_forger::main`.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    udco_testbed::icmp_forger::main(&words)
}
