//! What `udco monitor --json` says on a host.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use udco_testbed::{Host, Process, eventually};

use super::bench::SOON;

/// A running `udco monitor`.
#[derive(Debug)]
pub(crate) struct Monitor {
    process: Process,
    host: String,
}

impl Monitor {
    /// Listens from now on, to all devices: a host must hear of its own only.
    pub(crate) fn start(host: &Host, binary: &str) -> Result<Self> {
        let name = format!("monitor-{}", host.name());
        let mut process = host.spawn(&name, &[binary, "monitor", "--json"])?;
        process.wait_for_log("listening", SOON)?;
        Ok(Self {
            process,
            host: host.name().to_owned(),
        })
    }

    /// What was told so far, as `NAME PEER REASON` or `NAME PEER REMOTE`.
    pub(crate) fn heard(&self) -> Result<Vec<String>> {
        let log = self.process.log();
        // The last line may be half written.
        let lines = log.split_inclusive('\n').filter(|it| it.ends_with('\n'));
        let mut heard = Vec::new();
        for line in lines {
            let object: Value = serde_json::from_str(line).context("a line of the monitor")?;
            let word = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
            let event = word("event");
            if matches!(event.as_str(), "listening" | "engine-ended") {
                continue;
            }
            ensure!(word("device") == "tun0", "{object}");
            let detail = word("reason") + &word("remote");
            heard.push(format!("{event} {} {detail}", object["peer"]));
        }
        Ok(heard)
    }

    /// Waits until as much was told as is expected, and wants it to be that, in this order.
    pub(crate) fn expect(&self, expected: &[String]) -> Result<()> {
        let what = format!("{} to hear {expected:?}", self.host);
        let heard = eventually(&what, SOON, || {
            let heard = self.heard()?;
            Ok((heard.len() >= expected.len()).then_some(heard))
        });
        let heard = heard.with_context(|| format!("heard {:?}", self.heard()))?;
        ensure!(
            heard == expected,
            "{} heard {heard:#?}, not {expected:#?}",
            self.host
        );
        Ok(())
    }

    /// Like [`Self::expect`], if the order of what comes after the first `ordered` is not for anybody to say.
    pub(crate) fn expect_ending(&self, expected: &[String], ordered: usize) -> Result<()> {
        let what = format!("{} to hear {expected:?}", self.host);
        let mut heard = eventually(&what, SOON, || {
            let heard = self.heard()?;
            Ok((heard.len() >= expected.len()).then_some(heard))
        })?;
        if let Some(ending) = heard.get_mut(ordered..) {
            ending.sort();
        }
        ensure!(
            heard == expected,
            "{} heard {heard:#?}, not {expected:#?}",
            self.host
        );
        Ok(())
    }
}

/// How the end of a peer is told.
pub(crate) fn deleted(peer: u32, reason: &str) -> String {
    format!("peer-deleted {peer} {reason}")
}

/// How a peer's new address is told.
pub(crate) fn floated(peer: u32, remote: &str) -> String {
    format!("peer-floated {peer} {remote}")
}
