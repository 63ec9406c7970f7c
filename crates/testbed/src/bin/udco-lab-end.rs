//! The processes that scenarios run in hosts of their labs; see [`LabEnd`].
#![forbid(unsafe_code)]

use clap::Parser;
use udco_testbed::LabEnd;

#[derive(Debug, Parser)]
enum Command {
    /// A process in a host of a lab.
    LabEnd(LabEnd),
}

fn main() -> anyhow::Result<()> {
    let Command::LabEnd(end) = Command::parse();
    end.run()
}
