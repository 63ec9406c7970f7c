//! Keys as the API installs and reports them, and the core's.

use udco_core::packet_id::PacketIds;
use udco_core::{Cipher, Key, KeyId, KeyMaterial};
use udco_crypto::DirectionKey;
use udco_netlink::{CipherAlg, KeyNew};

/// The key of a request; `None` if the key id has more than 3 bits, or a secret not the length of its cipher.
pub(crate) fn key(new: &KeyNew<'_>, packet_ids: PacketIds) -> Option<Key<DirectionKey>> {
    let encrypt = cipher(new.cipher, new.encrypt.key.len())?;
    let decrypt = cipher(new.cipher, new.decrypt.key.len())?;
    let material = KeyMaterial {
        id: KeyId::new(new.key_id)?,
        cipher: encrypt,
        encrypt: DirectionKey::new(encrypt, new.encrypt.key).ok()?,
        decrypt: DirectionKey::new(decrypt, new.decrypt.key).ok()?,
        encrypt_nonce_tail: new.encrypt.nonce_tail,
        decrypt_nonce_tail: new.decrypt.nonce_tail,
    };
    Some(Key::with_packet_ids(material, packet_ids))
}

/// The cipher that the API means: for AES the key's length selects the variant (dco-behaviour 1.2).
const fn cipher(algorithm: CipherAlg, key_len: usize) -> Option<Cipher> {
    match algorithm {
        CipherAlg::AesGcm => Cipher::aes_gcm(key_len),
        CipherAlg::ChaCha20Poly1305 => match key_len {
            32 => Some(Cipher::ChaCha20Poly1305),
            _ => None,
        },
    }
}

/// The API's name of a cipher.
pub(crate) const fn algorithm(cipher: Cipher) -> CipherAlg {
    match cipher {
        Cipher::Aes128Gcm | Cipher::Aes192Gcm | Cipher::Aes256Gcm => CipherAlg::AesGcm,
        Cipher::ChaCha20Poly1305 => CipherAlg::ChaCha20Poly1305,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_lengths_decide() {
        for len in 0..=64 {
            let aes = cipher(CipherAlg::AesGcm, len);
            assert_eq!(aes.is_some(), [16, 24, 32].contains(&len));
            let chacha = cipher(CipherAlg::ChaCha20Poly1305, len);
            assert_eq!(chacha.is_some(), len == 32);
            for (found, asked) in [
                (aes, CipherAlg::AesGcm),
                (chacha, CipherAlg::ChaCha20Poly1305),
            ] {
                let Some(found) = found else { continue };
                assert_eq!((found.key_len(), algorithm(found)), (len, asked));
            }
        }
    }
}
