//! The alias of a TUN device identifies a device made for this engine, and one that a dead engine left behind.

/// Prefix of every TUN device's alias, followed by the kind of link it stands for: by it a successor recognises what a
/// dead engine left behind.
pub const ALIAS: &str = "udco ";

/// Room for the prefix, a kind of up to 9 bytes, a space and 16 digits.
const ROOM: usize = 32;

/// The alias that the client gives a device: [`ALIAS`], the kind of link, and the nonce of the engine's request in hex.
///
/// Setting an alias takes `CAP_NET_ADMIN` in the device's network namespace, and anyone can read it. So an engine that
/// reads its nonce there knows that the client to which it sent the nonce has made this device, or may administer it
/// (faults D1). Others can read the nonce too, but it is valid for one request only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias {
    bytes: [u8; ROOM],
    len: usize,
}

impl Alias {
    /// The alias for a device of this kind, as [`crate::ToClient::NeedTun`] requires it.
    #[must_use]
    pub fn new(kind: &str, nonce: u64) -> Self {
        let mut alias = Self {
            bytes: [0; ROOM],
            len: 0,
        };
        let digits = (0..16).rev().map(|at| {
            let digit = (nonce >> (4 * at)) as u8 & 0xf;
            if digit < 10 {
                b'0' + digit
            } else {
                b'a' + digit - 10
            }
        });
        let text = ALIAS.bytes().chain(kind.bytes()).chain([b' ']);
        for (to, from) in alias.bytes.iter_mut().zip(text.chain(digits)) {
            *to = from;
            alias.len += 1;
        }
        alias
    }

    /// The alias as the kernel stores and reports it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Alias;

    #[test]
    fn kind_and_nonce_are_read_separately() {
        let alias = Alias::new("ovpn-dco", 0x0123_4567_89ab_cdef);
        assert_eq!(alias.as_bytes(), b"udco ovpn-dco 0123456789abcdef");
        assert_eq!(
            Alias::new("ovpn", 7).as_bytes(),
            b"udco ovpn 0000000000000007"
        );
    }
}
