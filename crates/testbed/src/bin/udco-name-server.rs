//! A name server for one name; see `udco_testbed::name_server::main`.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    udco_testbed::name_server::main(&words)
}
