//! Labels: few, and bounded in number. Nothing that a stranger chooses, such as a peer's address, becomes a label.

use std::borrow::Cow;

/// The labels of a series.
pub(super) type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// Which device a series is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeviceLabels {
    /// Its name.
    pub(super) name: String,
    /// The kernel's number of its network namespace; `None` in this one.
    pub(super) netns: Option<u64>,
    /// Its interface index, if another one here has had the same name: an interface may be renamed.
    pub(super) ifindex: Option<u32>,
}

impl DeviceLabels {
    /// These labels, and further ones.
    pub(super) fn with<'a>(&'a self, further: &[(&'static str, &'a str)]) -> Labels<'a> {
        let mut labels: Labels<'a> = vec![("device", Cow::Borrowed(self.name.as_str()))];
        if let Some(netns) = self.netns {
            labels.push(("netns", netns.to_string().into()));
        }
        if let Some(ifindex) = self.ifindex {
            labels.push(("ifindex", ifindex.to_string().into()));
        }
        let further = further.iter();
        labels.extend(further.map(|(name, value)| (*name, Cow::Borrowed(*value))));
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_device_has_one_label() {
        let mut labels = DeviceLabels {
            name: "tun0".to_owned(),
            ..DeviceLabels::default()
        };
        assert_eq!(labels.with(&[]), [("device", "tun0".into())]);
        labels.netns = Some(7);
        labels.ifindex = Some(3);
        let expected: Labels<'_> = vec![
            ("device", "tun0".into()),
            ("netns", "7".into()),
            ("ifindex", "3".into()),
            ("reason", "rx_bad_tag".into()),
        ];
        assert_eq!(labels.with(&[("reason", "rx_bad_tag")]), expected);
    }
}
