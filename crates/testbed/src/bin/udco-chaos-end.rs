//! The chaos scenarios' processes in the hosts of their lab; see `udco_testbed::chaos::main`.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(2).collect();
    udco_testbed::chaos::main(&words)
}
