//! A client's own options for its data path. `udco run` reads them, an environment variable carries them to the preload
//! library, which passes them to the engine, for this client's devices only (faults E5).

use core::fmt;

/// Environment variable with a client's options, in the [`DataPathOptions`] display format.
pub const OPTIONS_VARIABLE: &str = "UDCO_OPTIONS";

/// The smallest size: OpenVPN 2.7 accepts no smaller one.
const LEAST_SIZE: u16 = 154;

/// Size limit for TCP segments, applied by lowering the MSS in SYNs (OpenVPN's `mssfix`). The path's limit applies as
/// well, except with [`MssFix::Off`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MssFix {
    /// The path's limit alone.
    #[default]
    Path,
    /// No limit.
    Off,
    /// OpenVPN's packets are at most this long, not counting the UDP and IP headers.
    Datagram(u16),
    /// The same, counting the UDP and IP headers.
    Outer(u16),
    /// Inner packets are at most this long.
    Inner(u16),
}

/// Options of a client that affect the data path of its devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataPathOptions {
    /// `mssfix`.
    pub mssfix: MssFix,
    /// `passtos`: copy the DSCP of an inner packet to the outer one.
    pub passtos: bool,
    /// `txqueuelen` of the TUN device.
    pub txqueuelen: Option<u32>,
}

impl DataPathOptions {
    /// Parses the variable, ignoring anything unknown: no option is worth a failed start.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut options = Self::default();
        for word in text.split(',') {
            let _ = options.take(word);
        }
        options
    }

    /// The first word of the variable that [`DataPathOptions::parse`] ignores.
    #[must_use]
    pub fn ignored(text: &str) -> Option<&str> {
        let mut options = Self::default();
        let words = text.split(',').map(str::trim);
        let mut words = words.filter(|word| !word.is_empty());
        words.find(|word| options.take(word).is_none())
    }

    /// Takes an option; `None` if it is unknown, or cannot have this value.
    fn take(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match (name.trim(), value.trim()) {
            ("mssfix", value) => self.mssfix = MssFix::parse(value)?,
            ("passtos", "") => self.passtos = true,
            ("txqueuelen", value) => self.txqueuelen = Some(value.parse().ok()?),
            _ => return None,
        }
        Some(())
    }

    /// Whether all are at their defaults.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for DataPathOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        let mut next = |f: &mut fmt::Formatter<'_>| {
            let between = core::mem::replace(&mut between, ",");
            f.write_str(between)
        };
        if self.mssfix != MssFix::Path {
            next(f)?;
            write!(f, "mssfix={}", self.mssfix)?;
        }
        if self.passtos {
            next(f)?;
            f.write_str("passtos")?;
        }
        if let Some(length) = self.txqueuelen {
            next(f)?;
            write!(f, "txqueuelen={length}")?;
        }
        Ok(())
    }
}

impl MssFix {
    /// Raises a size that is too small: segments of a few bytes would waste the path.
    #[must_use]
    pub fn bounded(self) -> Self {
        match self {
            Self::Path | Self::Off => self,
            Self::Datagram(size) => Self::Datagram(size.max(LEAST_SIZE)),
            Self::Outer(size) => Self::Outer(size.max(LEAST_SIZE)),
            Self::Inner(size) => Self::Inner(size.max(LEAST_SIZE)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (size, kind) = text.split_once(':').unwrap_or((text, ""));
        let size = size.trim().parse().ok()?;
        Some(match (size, kind.trim()) {
            (0, _) => Self::Off,
            (size, "") => Self::Datagram(size),
            (size, "mtu") => Self::Outer(size),
            (size, "fixed") => Self::Inner(size),
            _ => return None,
        })
    }

    /// As two numbers of a message.
    pub(crate) const fn to_wire(self) -> (u16, u16) {
        match self {
            Self::Path => (0, 0),
            Self::Off => (1, 0),
            Self::Datagram(size) => (2, size),
            Self::Outer(size) => (3, size),
            Self::Inner(size) => (4, size),
        }
    }

    /// From two numbers of a message, within bounds.
    pub(crate) fn of_wire((kind, size): (u16, u16)) -> Self {
        let value = match kind {
            1 => Self::Off,
            2 => Self::Datagram(size),
            3 => Self::Outer(size),
            4 => Self::Inner(size),
            _ => Self::Path,
        };
        value.bounded()
    }
}

impl fmt::Display for MssFix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => Ok(()),
            Self::Off => f.write_str("0"),
            Self::Datagram(size) => write!(f, "{size}"),
            Self::Outer(size) => write!(f, "{size}:mtu"),
            Self::Inner(size) => write!(f, "{size}:fixed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displayed_options_parse_back() {
        for mssfix in [
            MssFix::Path,
            MssFix::Off,
            MssFix::Datagram(1300),
            MssFix::Outer(1400),
            MssFix::Inner(1200),
        ] {
            for passtos in [false, true] {
                for txqueuelen in [None, Some(100)] {
                    let options = DataPathOptions {
                        mssfix,
                        passtos,
                        txqueuelen,
                    };
                    assert_eq!(DataPathOptions::parse(&options.to_string()), options);
                    assert_eq!(MssFix::of_wire(mssfix.to_wire()), mssfix);
                }
            }
        }
        assert_eq!(DataPathOptions::default().to_string(), "");
    }

    #[test]
    fn unknown_options_are_ignored() {
        for text in [
            "",
            ",,=,",
            "mssfix",
            "mssfix=99999",
            "mssfix=-1",
            "mssfix=1400:tuesday",
            "txqueuelen=x",
            "passtos=0",
            "other=1",
        ] {
            assert!(DataPathOptions::parse(text).is_default(), "{text}");
            let known = DataPathOptions::ignored(text).is_none();
            assert_eq!(known, text.is_empty(), "{text}");
        }
        let parsed = DataPathOptions::parse("other, passtos ,mssfix=9");
        assert!(parsed.passtos);
        let ignored = DataPathOptions::ignored("mssfix=1400:mtu, passtos, txqueuelen=5,");
        assert_eq!(ignored, None);
        let ignored = DataPathOptions::ignored("passtos, other ,mssfix=x");
        assert_eq!(ignored, Some("other"));
        assert_eq!(parsed.mssfix.bounded(), MssFix::Datagram(154));
    }
}
