//! One device, or one peer of it.

use anyhow::{Result, bail};
use udco_state::{Peer, Report};

use crate::state::{self, Device};
use crate::survey::Survey;

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub(super) device: &'a str,
    pub(super) peer: Option<u32>,
}

impl Choice<'_> {
    /// Leaves the chosen device in a survey. Several namespaces may have one of that name.
    ///
    /// # Errors
    /// If there is no such device, unless a remark says that it was left, or may have been; or if the peer is not on it.
    pub(super) fn apply(self, survey: &mut Survey<'_>) -> Result<()> {
        let Self { device: name, peer } = self;
        let nobody =
            (survey.devices() == 0 && survey.engines.is_empty()).then(|| survey.no_devices());
        for engine in &mut survey.engines {
            engine.state.devices.retain(|device| device.name == name);
        }
        survey.engines.retain(|it| !it.state.devices.is_empty());
        survey.kernel.retain(|device| device.name == name);
        if survey.devices() == 0 {
            let mut named = survey.left.iter().chain(&survey.unsure);
            if named.any(|left| left.name == name) {
                return Ok(());
            }
            if let Some(nobody) = nobody {
                bail!("{nobody}");
            }
            if !survey.silent.is_empty() || !survey.unreachable.is_empty() {
                bail!("no engine that answers has a device {name} here");
            }
            bail!("no engine has a device {name} here: `udco show` lists those that there are");
        }
        let Some(id) = peer else {
            return Ok(());
        };
        for device in &mut survey.kernel {
            if let Some(peers) = &mut device.peers {
                peers.retain(|peer| peer.id == id);
            }
        }
        let of_kernel = survey.kernel.iter().flat_map(|it| &it.peers);
        let mut is_there = of_kernel.flatten().next().is_some();
        for device in survey.engines.iter().flat_map(|it| &it.state.devices) {
            is_there |= state::peers(device)?.iter().any(|peer| peer.id == id);
        }
        if !is_there {
            bail!("{name} has no peer {id}: `udco show {name}` lists those that it has");
        }
        Ok(())
    }
}

/// The same report with one peer of each device.
///
/// # Errors
/// If an engine's peers cannot be read.
pub(super) fn of_peer(
    report: Report<Device<'_>>,
    id: u32,
) -> Result<Report<udco_state::Device<Vec<Peer>>>> {
    let devices = report.devices.into_iter().map(|device| {
        let mut peers = state::peers(&device)?;
        peers.retain(|peer| peer.id == id);
        Ok(device.with_peers(peers))
    });
    Ok(Report {
        devices: devices.collect::<Result<_>>()?,
        format: report.format,
        kernel_devices: report.kernel_devices,
        engines: report.engines,
        left: report.left,
        silent: report.silent,
        unreachable: report.unreachable,
    })
}
