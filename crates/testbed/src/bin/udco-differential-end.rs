//! The process that holds the devices of the differential test; see `udco_testbed::differential::main`.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(2).collect();
    udco_testbed::differential::main(&words)
}
