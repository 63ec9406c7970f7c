//! A hostile client of another user, for the test; see `udco_testbed::hostile::main`.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(2).collect();
    udco_testbed::hostile::main(&words)
}
