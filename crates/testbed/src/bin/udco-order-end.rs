//! Both ends of flows of numbered datagrams, for the test; see `udco_testbed::measure::order::main`.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(2).collect();
    udco_testbed::measure::order::main(&words)
}
