//! `udco link show`: the devices of this network namespace, with what serves them.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use udco_state::{Driver, KernelDevice};

use super::text::Printer;
use crate::output::{self, complain, line};
use crate::state::{self, Device, EngineState};
use crate::style::Style;
use crate::{engines, kernel, survey};

/// A device, as `udco link show --json` prints it.
#[derive(Serialize)]
struct Link<'a> {
    #[serde(flatten)]
    device: Device<'a>,
    /// The kind of link with which `ip` makes such a device.
    kind: &'static str,
    /// What serves it.
    driver: Driver,
}

/// The same for a device of the kernel's own driver.
#[derive(Serialize)]
struct KernelLink {
    #[serde(flatten)]
    device: KernelDevice,
    kind: &'static str,
}

/// What `udco link show --json` prints.
#[derive(Serialize)]
struct Links<'a> {
    devices: Vec<Link<'a>>,
    kernel_devices: Vec<KernelLink>,
}

/// Prints the devices of this namespace, or the one of this name.
pub(crate) fn print(name: Option<&str>, json: bool, engine: Option<&Path>) -> Result<()> {
    let (texts, mut silent) = survey::states(engine)?;
    let mut devices = Vec::new();
    for (path, text) in &texts {
        match state::read::<EngineState<'_>>(text) {
            Ok(state) => devices.extend(state.devices),
            Err(error) => silent.push((path.clone(), error)),
        }
    }
    engines::complain(&silent);
    let (mut kernels, remarks) = match engine {
        Some(_) => kernel::Survey::default(),
        None => kernel::devices(name),
    };
    for remark in remarks {
        complain!("{remark}");
    }
    devices.retain(|device| state::is_here(device) && name.is_none_or(|name| device.name == name));
    let is_none = devices.is_empty() && kernels.is_empty();
    // An engine that does not answer may have some.
    let is_blind = is_none && !silent.is_empty();
    if let Some(name) = name.filter(|_| is_none) {
        return Err(engines::absent(name, texts.is_empty(), !silent.is_empty()));
    }
    if json {
        let links = devices.into_iter().map(|device| Link {
            kind: device.api.link_kind(),
            device,
            driver: Driver::Udco,
        });
        let kernels = kernels.drain(..).map(|device| KernelLink {
            device,
            kind: udco_state::Api::Ovpn.link_kind(),
        });
        output::json(&Links {
            devices: links.collect(),
            kernel_devices: kernels.collect(),
        })?;
        return all_asked(is_blind);
    }
    all_asked(is_blind)?;
    if is_none {
        line!("no devices: create one with `udco link add NAME`");
    }
    let mut printer = Printer::new(Style::of_output());
    devices
        .iter()
        .try_for_each(|device| printer.device(device, None, None))?;
    kernels
        .iter()
        .try_for_each(|device| printer.kernel_device(device, None))
}

/// An error if an engine that does not answer may have the devices of which there are none.
fn all_asked(is_blind: bool) -> Result<()> {
    if is_blind {
        bail!("no engine that answers has a device here");
    }
    Ok(())
}
