//! The alias of a TUN device: by it an engine knows the device that was made for it, and one that a dead engine left.

/// What the alias of each TUN device begins with, followed by the kind of the link that it stands for: by this a successor
/// knows what a dead engine has left.
pub const ALIAS: &str = "udco ";

/// Room for the prefix, a kind of up to 9 bytes, a space and 16 digits.
const ROOM: usize = 32;

/// The alias that the client gives a device: [`ALIAS`], the kind of link, and the nonce of the engine's question in hex.
///
/// Only who has `CAP_NET_ADMIN` in the network namespace of a device can set its alias, and the kernel tells everybody
/// what it is. So an engine that reads its nonce there knows that whoever it asked made, or may administer, this device
/// (faults D1). Others can read the nonce, too, but it is good for the one question only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias {
    bytes: [u8; ROOM],
    len: usize,
}

impl Alias {
    /// The alias for a device of this kind, as a [`crate::ToClient::NeedTun`] asks for it.
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

    /// The alias as the kernel takes and tells it.
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
