//! `udco link show`: the devices of this network namespace, with what serves them.

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;
use udco_state::{Driver, KernelDevice};

use super::text::Printer;
use crate::output::{self, complain, line};
use crate::state::{self, Device};
use crate::style::Style;
use crate::survey::{self, Survey};
use crate::{engines, kernel};

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
    let (texts, silent) = survey::states(engine)?;
    let mut survey = match engine {
        Some(_) => Survey::of(&texts, silent, true, false)?,
        None => Survey::of_all(&texts, silent, false, kernel::devices(name)),
    };
    if name.is_some() {
        // The error says it, if it is about this one.
        survey.left.clear();
        survey.unsure.clear();
    }
    for remark in survey.remarks() {
        complain!("{remark}");
    }
    let Survey {
        engines,
        mut kernel,
        silent,
        left,
        ..
    } = survey;
    let engines = engines.into_iter();
    let mut devices: Vec<_> = engines.flat_map(|it| it.state.devices).collect();
    devices.retain(|device| state::is_here(device) && name.is_none_or(|name| device.name == name));
    let is_none = devices.is_empty() && kernel.is_empty();
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
        let kernels = kernel.drain(..).map(|device| KernelLink {
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
    if is_none && left.is_empty() {
        line!("no devices: create one with `udco link add NAME`");
    }
    let mut printer = Printer::new(Style::of_output());
    devices
        .iter()
        .try_for_each(|device| printer.device(device, None, None))?;
    kernel
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
