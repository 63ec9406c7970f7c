//! The state of an engine, parsed only as far as needed. There may be very many peers: they stay as raw text for
//! printing, or are parsed on demand.

use anyhow::{Result, anyhow};
use serde::Deserialize;
use serde_json::value::RawValue;
use udco_state::Peer;
use udco_sys::Netns;

use crate::client::Client;
use crate::escape::printable;
use crate::interface;

/// How much to say of why a report cannot be read: the reason quotes it.
const REASON: usize = 200;

/// A device, with its peers as text.
pub(crate) type Device<'a> = udco_state::Device<&'a RawValue>;

/// An engine with such devices.
pub(crate) type EngineState<'a> = udco_state::EngineState<Device<'a>>;

/// Parses an engine's report.
pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let why = printable(&error.to_string(), REASON);
        anyhow!("an engine of another version: {why}")
    })
}

/// The peers of a device.
pub(crate) fn peers(device: &Device<'_>) -> Result<Vec<Peer>> {
    read(device.peers.get())
}

/// The peers of the device with this index here, as far as this user may see them; none without one.
///
/// # Errors
/// If the engine does not answer.
pub(crate) fn peers_of(client: &mut Client, ifindex: u32) -> Result<Vec<Peer>> {
    let text = client.state()?;
    let state: EngineState<'_> = read(&text)?;
    let mut devices = state.devices.iter();
    let device = devices.find(|it| it.ifindex == ifindex && is_here(it));
    device.map_or_else(|| Ok(Vec::new()), peers)
}

/// Whether a device is in this network namespace, as far as its state shows.
pub(crate) fn is_here(device: &Device<'_>) -> bool {
    let (netns, here) = (Netns::numbered(device.netns), interface::namespace());
    match netns.is_known() && here.is_known() {
        true => netns.is(here),
        false => interface::index(&device.name) == Some(device.ifindex),
    }
}

/// Whether an engine is in this network namespace.
pub(crate) fn is_engine_here(engine: &EngineState<'_>) -> bool {
    Some(engine.netns) == interface::namespace_inode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_says_is_not_repeated_at_length() {
        let long = format!("\"{}\"", "x".repeat(1_000_000));
        let refused = read::<EngineState<'_>>(&long).unwrap_err();
        let refused = format!("{refused:#}");
        assert!(refused.starts_with("an engine of another version: "));
        assert!(refused.len() < 300, "{}", refused.len());
    }
}
