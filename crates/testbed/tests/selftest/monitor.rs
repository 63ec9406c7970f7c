//! The output of `udco monitor --json` on a host.

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
    /// Monitors all devices from now on: a host must receive notifications of its own only.
    pub(crate) fn start(host: &Host, binary: &str) -> Result<Self> {
        let name = format!("monitor-{}", host.name());
        let mut process = host.spawn(&name, &[binary, "monitor", "--json"])?;
        process.wait_for_log("listening", SOON)?;
        Ok(Self {
            process,
            host: host.name().to_owned(),
        })
    }

    /// The notifications so far, as `NAME PEER REASON` or `NAME PEER REMOTE`.
    pub(crate) fn events(&self) -> Result<Vec<String>> {
        let log = self.process.log();
        // The last line may be incomplete.
        let lines = log.split_inclusive('\n').filter(|it| it.ends_with('\n'));
        let mut events = Vec::new();
        for line in lines {
            let object: Value = serde_json::from_str(line).context("a line of the monitor")?;
            let word = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
            let event = word("event");
            if matches!(event.as_str(), "listening" | "engine-ended") {
                continue;
            }
            ensure!(word("device") == "tun0", "{object}");
            let detail = match event.as_str() {
                "peer-deleted" => word("reason"),
                _ => word("remote"),
            };
            events.push(format!("{event} {} {detail}", object["peer"]));
        }
        Ok(events)
    }

    /// Waits for as many notifications as expected, and requires exactly these, in this order.
    pub(crate) fn expect(&self, expected: &[String]) -> Result<()> {
        let what = format!("{} to receive {expected:?}", self.host);
        let events = eventually(&what, SOON, || {
            let events = self.events()?;
            Ok((events.len() >= expected.len()).then_some(events))
        });
        let events = events.with_context(|| format!("received {:?}", self.events()))?;
        ensure!(
            events == expected,
            "{} received {events:#?}, not {expected:#?}",
            self.host
        );
        Ok(())
    }

    /// Like [`Self::expect`], but any order is right after the first `ordered`.
    pub(crate) fn expect_ending(&self, expected: &[String], ordered: usize) -> Result<()> {
        let what = format!("{} to receive {expected:?}", self.host);
        let mut events = eventually(&what, SOON, || {
            let events = self.events()?;
            Ok((events.len() >= expected.len()).then_some(events))
        })?;
        if let Some(ending) = events.get_mut(ordered..) {
            ending.sort();
        }
        ensure!(
            events == expected,
            "{} received {events:#?}, not {expected:#?}",
            self.host
        );
        Ok(())
    }
}

/// The event of a peer's end.
pub(crate) fn deleted(peer: u32, reason: &str) -> String {
    format!("peer-deleted {peer} {reason}")
}

/// The event of a peer's new address.
pub(crate) fn floated(peer: u32, remote: &str) -> String {
    format!("peer-floated {peer} {remote}")
}
