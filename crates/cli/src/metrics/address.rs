//! Where metrics are served.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// The text is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give unix:/PATH, or an IP address and a port, e.g. 127.0.0.1:9176 or [::1]:9176")]
pub(super) struct NoAddress;

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        match text.strip_prefix("unix:").map(PathBuf::from) {
            Some(path) if path.is_absolute() => Ok(Self::Unix(path)),
            Some(_) => Err(NoAddress),
            None => text.parse().map(Self::Tcp).map_err(|_| NoAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(to, "unix:{}", path.display()),
            Self::Tcp(address) => write!(to, "http://{address}/metrics"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_has_a_port() {
        let unix = "unix:/run/udco-metrics".parse();
        assert_eq!(unix, Ok(Address::Unix("/run/udco-metrics".into())));
        let tcp: Address = "[::1]:9176".parse().unwrap();
        assert_eq!(tcp.to_string(), "http://[::1]:9176/metrics");
        for bad in ["", "unix:", "unix:here", ":9176", "127.0.0.1", "localhost"] {
            assert_eq!(bad.parse::<Address>(), Err(NoAddress), "{bad}");
        }
    }
}
