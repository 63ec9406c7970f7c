//! `mssfix` and its equivalents.

use std::collections::BTreeMap;

use udco_ipc::MssFix;

use crate::setting::Setting;

/// The bound that holds for every remote of a client: where `<connection>` blocks differ, the tightest, since which of
/// them OpenVPN will choose is unknown here.
pub(crate) fn in_effect(settings: &[Setting]) -> MssFix {
    let mut outside = MssFix::Path;
    // A block starts from the options given before it.
    let mut inside = BTreeMap::new();
    for setting in settings {
        let value = match setting.connection {
            Some(connection) => inside.entry(connection).or_insert(outside),
            None => &mut outside,
        };
        if let Some(bound) = bound_of(setting) {
            *value = bound;
        }
    }
    inside
        .into_values()
        .min_by_key(|value| tightness(*value))
        .unwrap_or(outside)
}

fn bound_of(setting: &Setting) -> Option<MssFix> {
    match setting.name.as_str() {
        "mssfix" => {}
        // Limits control packets, too; OpenVPN sees to that itself.
        "max-packet-size" => return Some(MssFix::Outer(size(setting)?)),
        _ => return None,
    }
    Some(match (size(setting), setting.argument(1)) {
        (None, _) => MssFix::Path,
        (Some(0), _) => MssFix::Off,
        (Some(size), Some("mtu")) => MssFix::Outer(size),
        (Some(size), Some("fixed")) => MssFix::Inner(size),
        (Some(size), _) => MssFix::Datagram(size),
    })
}

fn size(setting: &Setting) -> Option<u16> {
    let size = setting.number(0)?.max(0);
    Some(u16::try_from(size).unwrap_or(u16::MAX))
}

/// Orders bounds by the size of inner packets that they allow, over UDP and IPv4.
fn tightness(value: MssFix) -> u32 {
    match value {
        MssFix::Inner(size) => u32::from(size) + 52,
        MssFix::Datagram(size) => u32::from(size) + 28,
        MssFix::Outer(size) => size.into(),
        MssFix::Path => u32::MAX - 1,
        MssFix::Off => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::read;

    fn of(file: &str) -> MssFix {
        let open = |_: &Path| Ok(file.as_bytes().to_vec());
        let reading = read(&["c.conf".into()], Path::new(""), open);
        assert_eq!(reading.problems, []);
        in_effect(&reading.settings)
    }

    /// faults E5: each form of OpenVPN's option.
    #[test]
    fn every_form_is_understood() {
        for (file, wanted) in [
            ("", MssFix::Path),
            ("mssfix", MssFix::Path),
            ("mssfix 1300", MssFix::Datagram(1300)),
            ("mssfix 1300 mtu", MssFix::Outer(1300)),
            ("mssfix 1300 fixed", MssFix::Inner(1300)),
            ("mssfix 0", MssFix::Off),
            ("mssfix 0 mtu", MssFix::Off),
            ("mssfix -1", MssFix::Off),
            ("mssfix 1300\nmssfix 0", MssFix::Off),
            ("mssfix 1300\nmssfix", MssFix::Path),
            ("mssfix 99999999999999999999", MssFix::Datagram(65_535)),
            ("setenv opt mssfix 1300", MssFix::Datagram(1300)),
            ("max-packet-size 1200", MssFix::Outer(1200)),
            (
                "max-packet-size 1200\nmssfix 1300 fixed",
                MssFix::Inner(1300),
            ),
            ("push \"mssfix 1300\"", MssFix::Path),
            (
                "<connection>\nremote a\n</connection>\nmssfix 1300",
                MssFix::Path,
            ),
            (
                "mssfix 1300\n<connection>\nremote a\n</connection>",
                MssFix::Datagram(1300),
            ),
            (
                "mssfix 1400\n<connection>\nmssfix 1300\n</connection>\n<connection>\nmssfix 0\n</connection>",
                MssFix::Datagram(1300),
            ),
        ] {
            assert_eq!(of(file), wanted, "{file}");
        }
    }
}
