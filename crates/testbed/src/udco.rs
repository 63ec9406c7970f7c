//! The program under test: where its binary is, and what `udco show --json` says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::host::Host;

/// True if `UDCO_TESTBED_PLAIN` is set: every endpoint runs on OpenVPN's own data path, which proves the harness and
/// nothing about udco.
pub fn harness_only() -> bool {
    std::env::var_os("UDCO_TESTBED_PLAIN").is_some()
}

/// The `udco` binary: `UDCO_BIN`, else the newest in the `debug` and `release` directories of the running test.
///
/// # Errors
/// Fails if there is none, with the cure.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("UDCO_BIN").map(PathBuf::from) {
        ensure!(path.is_file(), "UDCO_BIN={} is no file", path.display());
        return Ok(path.canonicalize()?);
    }
    let test = std::env::current_exe()?;
    // <target>/<profile>/deps/<test>, or <target>/<profile>/<program>
    test.ancestors()
        .take(4)
        .flat_map(|dir| ["debug", "release"].map(|profile| dir.join(profile).join("udco")))
        .filter(|path| path.is_file())
        .max_by_key(|path| {
            path.metadata()
                .and_then(|metadata| metadata.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH)
        })
        .context("no udco binary; cure: `cargo build` in the workspace, or UDCO_BIN=/path/to/udco")
}

/// The preload library beside the binary.
///
/// # Errors
/// Fails if there is none, with the cure.
pub fn preload_library() -> Result<PathBuf> {
    let library = binary()?.with_file_name("libudco_preload.so");
    ensure!(
        library.is_file(),
        "no {}; cure: `cargo build` in the workspace",
        library.display()
    );
    Ok(library)
}

/// Asks the engine in `host` for its state.
///
/// # Errors
/// Fails if the answer of `udco show --json` has another shape. Its exit code is not looked at: no engine, and so no
/// device, is an answer.
pub fn show(host: &Host) -> Result<Shown> {
    let binary = binary()?;
    let output = host.output(&[&binary.to_string_lossy(), "show", "--json"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text).with_context(|| format!("`udco show --json` said: {text}"))
}

/// The answer of `udco show --json`. Members that are absent read as empty; those unknown here are passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shown {
    /// Virtual devices.
    pub devices: Vec<Device>,
}

/// A virtual device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Interface name.
    pub name: String,
    /// Interface index.
    pub ifindex: u32,
    /// Datagrams that the kernel had to fragment.
    pub fragmented: u64,
    /// Dropped packets by reason; 0 or absent if none.
    pub drops: BTreeMap<String, u64>,
    /// Its peers.
    pub peers: Vec<Peer>,
}

/// A peer of a device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// Peer id.
    pub id: u32,
    /// Outer address, in whatever form.
    pub remote: Value,
    /// The address of ours that it talks to; null if the route decides.
    pub local: Value,
    /// MTU of the path to it, over UDP.
    pub path_mtu: Option<u16>,
    /// The MSS that follows for TCP inside.
    pub mss: Option<Mss>,
    /// Address inside.
    pub vpn4: Value,
    /// IPv6 address inside.
    pub vpn6: Value,
    /// Key slots.
    pub keys: Value,
    /// What crossed the wire.
    pub link: Counters,
    /// What crossed the virtual device.
    pub vpn: Counters,
}

/// An MSS by the family inside.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Mss {
    /// Over IPv4.
    pub ipv4: u16,
    /// Over IPv6.
    pub ipv6: u16,
}

/// Bytes and packets of both directions.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Counters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

impl Shown {
    /// The peers of all devices.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.devices.iter().flat_map(|device| &device.peers)
    }

    /// Packets dropped for reasons whose name contains one of `words`.
    pub fn dropped(&self, words: &[&str]) -> u64 {
        self.devices
            .iter()
            .flat_map(|device| &device.drops)
            .filter(|(reason, _)| words.iter().any(|word| reason.contains(word)))
            .map(|(_, count)| count)
            .sum()
    }

    /// Checks that no packet failed authentication or the replay check.
    ///
    /// # Errors
    /// Names the counters.
    pub fn require_authentic(&self) -> Result<()> {
        if self.dropped(&["bad_tag", "no_tag", "replay", "too_old"]) == 0 {
            return Ok(());
        }
        let drops: Vec<_> = self.devices.iter().map(|device| &device.drops).collect();
        bail!("packets failed authentication or replay check: {drops:?}")
    }
}

impl Peer {
    /// True if the outer address is `address`, whatever the port.
    pub fn is_at(&self, address: &str) -> bool {
        let text = self.remote.to_string();
        // 192.0.2.7 is not 192.0.2.77.
        text.match_indices(address).any(|(at, _)| {
            let after = text
                .get(at + address.len()..)
                .and_then(|rest| rest.chars().next());
            !after.is_some_and(|c| c.is_ascii_hexdigit())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Shown;

    #[test]
    fn the_expected_shape_and_absent_members_are_read() {
        let text = r#"{"devices":[{"name":"tun0","ifindex":3,"mode":"mp","api":"ovpn-dco-v2",
            "drops":{"rx_spoofed_source":2,"rx_bad_tag":1},"peers":[{"id":0,"remote":"192.0.2.77:4000","vpn4":"10.8.0.2",
            "link":{"rx_bytes":5000000000,"rx_packets":1,"tx_bytes":2,"tx_packets":3}}]}]}"#;
        let shown: Shown = serde_json::from_str(text).expect("valid");
        let peer = shown.peers().next().expect("one peer");
        assert_eq!(peer.link.rx_bytes, 5_000_000_000);
        assert!(peer.is_at("192.0.2.77"));
        assert!(!peer.is_at("192.0.2.7"));
        assert_eq!(shown.dropped(&["spoofed"]), 2);
        assert!(shown.require_authentic().is_err());
    }
}
