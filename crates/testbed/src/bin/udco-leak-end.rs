//! The sender beside killed tunnels, for the test; see `udco_testbed::leak::main`.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(2).collect();
    udco_testbed::leak::main(&words)
}
