//! An engine and a client of different releases: what each says of the other, and what to do.

use core::fmt;

use crate::VERSION;

/// The other end speaks this version of the protocol, not [`VERSION`]. Displayed, it says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherVersion {
    /// The engine does; a client says so.
    Engine(u16),
    /// The client does; an engine says so.
    Client(u16),
}

impl OtherVersion {
    const fn version(self) -> u16 {
        match self {
            Self::Engine(version) | Self::Client(version) => version,
        }
    }
}

impl fmt::Display for OtherVersion {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_newer = self.version() > VERSION;
        let who = match self {
            Self::Engine(_) => "the engine",
            Self::Client(_) => "the client",
        };
        let age = if is_newer { "a newer" } else { "an older" };
        write!(to, "{who} is of {age} release")?;
        // Older engines do not say which version they speak.
        if self.version() > 0 {
            write!(to, " (protocol version {}, not {VERSION})", self.version())?;
        }
        to.write_str(": ")?;
        // An upgrade replaces files, and an engine runs on until its tunnels are restarted (docs/operating.md).
        to.write_str(match (self, is_newer) {
            (Self::Engine(_), false) => "restart it, with its tunnels",
            (Self::Engine(_), true) => "use the udco of that release",
            (Self::Client(_), true) => "restart this engine, with its tunnels",
            (Self::Client(_), false) => "use the udco of this engine's release",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::OtherVersion::{Client, Engine};
    use crate::VERSION;

    #[test]
    fn the_older_end_is_named_with_its_cure() {
        let [older, newer] = [VERSION - 1, VERSION + 1];
        for (other, age, cure) in [
            (
                Engine(older),
                "the engine is of an older",
                ": restart it, with its tunnels",
            ),
            (
                Engine(newer),
                "the engine is of a newer",
                ": use the udco of that release",
            ),
            (
                Client(newer),
                "the client is of a newer",
                ": restart this engine, with its tunnels",
            ),
            (
                Client(older),
                "the client is of an older",
                ": use the udco of this engine's release",
            ),
        ] {
            let text = other.to_string();
            assert!(text.starts_with(age) && text.ends_with(cure), "{text}");
            let versions = format!("{}, not {VERSION}", other.version());
            assert!(text.contains(&versions), "{text}");
        }
    }
}
