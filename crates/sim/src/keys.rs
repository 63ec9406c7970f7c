//! The keys of a simulated handshake.

use udco_core::{Cipher, Key, KeyId, KeyMaterial};
use udco_crypto::DirectionKey;

use crate::Failure;
use crate::rng::Rng;

/// What both ends of a tunnel have agreed on.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Key id on the wire.
    pub id: u8,
    cipher: Cipher,
    directions: [([u8; 32], [u8; 8]); 2],
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that others connect to.
    Server,
    /// The end that connects.
    Client,
}

impl Secret {
    /// A fresh one.
    #[must_use]
    pub fn new(id: u8, rng: &mut Rng) -> Self {
        let mut direction = || {
            let (mut key, mut tail) = ([0; 32], [0; 8]);
            rng.fill(&mut key);
            rng.fill(&mut tail);
            (key, tail)
        };
        let directions = [direction(), direction()];
        let cipher = match rng.chance(500) {
            true => Cipher::Aes256Gcm,
            false => Cipher::ChaCha20Poly1305,
        };
        Self {
            id: id & 7,
            cipher,
            directions,
        }
    }

    /// The key of one end, which has sealed and opened nothing yet.
    ///
    /// # Errors
    /// If the cipher library refuses it.
    pub fn key(&self, side: Side) -> Result<Key<DirectionKey>, Failure> {
        let [down, up] = &self.directions;
        let (encrypt, decrypt) = match side {
            Side::Server => (down, up),
            Side::Client => (up, down),
        };
        let direction = |key: &[u8; 32]| {
            DirectionKey::new(self.cipher, key).map_err(|error| Failure::new(error.to_string()))
        };
        Ok(Key::new(KeyMaterial {
            id: KeyId::new(self.id).ok_or_else(|| Failure::new("a key id above 7"))?,
            cipher: self.cipher,
            encrypt: direction(&encrypt.0)?,
            decrypt: direction(&decrypt.0)?,
            encrypt_nonce_tail: encrypt.1,
            decrypt_nonce_tail: decrypt.1,
        }))
    }
}
