//! The ciphers, by aws-lc-rs (design decision 9).

use std::io;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use udco_core::aead::NONCE;
use udco_core::wire::TAG;
use udco_core::{Aead, AeadFailed, Cipher, KeyDigest};
use udco_netlink::CipherAlg;

/// A cipher with the key of one direction. The library wipes the key when it is dropped.
///
/// "Less safe" is the library's word for a key whose nonces the caller chooses; here they are packet ids, which
/// [`udco_core::packet_id`] hands out once each.
pub struct DirectionKey(LessSafeKey);

impl DirectionKey {
    /// `None` if the key does not have the cipher's length.
    #[must_use]
    pub fn new(cipher: Cipher, key: &[u8]) -> Option<Self> {
        let algorithm = match cipher {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes192Gcm => &AES_192_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        UnboundKey::new(algorithm, key)
            .ok()
            .map(|key| Self(LessSafeKey::new(key)))
    }
}

/// Digests keys with a secret of its own, so that a key that comes again is recognised when it itself is long gone
/// (promises B9).
pub(crate) struct Digester(hmac::Key);

impl Digester {
    /// # Errors
    /// If the system has no randomness.
    pub(crate) fn new() -> io::Result<Self> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map(Self)
            .map_err(|_| io::Error::other("no randomness"))
    }

    /// Of a key in the direction of sending, with its nonce tail.
    pub(crate) fn digest(&self, cipher: Cipher, key: &[u8], nonce_tail: [u8; 8]) -> KeyDigest {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[cipher as u8]);
        context.update(&nonce_tail);
        context.update(key);
        let digest = context.sign();
        let first = digest.as_ref().first_chunk().copied();
        KeyDigest(u64::from_ne_bytes(first.unwrap_or_default()))
    }
}

/// The cipher that the API means: for AES the key length tells (dco-behaviour 1.2).
pub(crate) const fn cipher(algorithm: CipherAlg, key_len: usize) -> Option<Cipher> {
    match (algorithm, key_len) {
        (CipherAlg::AesGcm, 16) => Some(Cipher::Aes128Gcm),
        (CipherAlg::AesGcm, 24) => Some(Cipher::Aes192Gcm),
        (CipherAlg::AesGcm, 32) => Some(Cipher::Aes256Gcm),
        (CipherAlg::ChaCha20Poly1305, 32) => Some(Cipher::ChaCha20Poly1305),
        _ => None,
    }
}

impl Aead for DirectionKey {
    fn seal(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        payload: &mut [u8],
        tag: &mut [u8; TAG],
    ) -> Result<(), AeadFailed> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_scatter(nonce, Aad::from(aad), payload, &[], tag)
            .map_err(|_| AeadFailed)
    }

    fn open(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        payload: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), AeadFailed> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag, payload)
            .map(drop)
            .map_err(|_| AeadFailed)
    }
}

#[cfg(test)]
mod tests {
    use udco_core::{Key, KeyMaterial, Time};

    use super::*;

    const CIPHERS: [(Cipher, usize); 4] = [
        (Cipher::Aes128Gcm, 16),
        (Cipher::Aes192Gcm, 24),
        (Cipher::Aes256Gcm, 32),
        (Cipher::ChaCha20Poly1305, 32),
    ];

    fn key(cipher: Cipher, len: usize) -> Key<DirectionKey> {
        let secret = vec![7; len];
        Key::new(KeyMaterial {
            id: 1,
            cipher,
            encrypt: DirectionKey::new(cipher, &secret).unwrap(),
            decrypt: DirectionKey::new(cipher, &secret).unwrap(),
            encrypt_nonce_tail: [1; 8],
            decrypt_nonce_tail: [1; 8],
        })
    }

    #[test]
    fn each_cipher_opens_what_it_sealed_and_nothing_else() {
        for (cipher, len) in CIPHERS {
            let (sender, receiver) = (key(cipher, len), key(cipher, len));
            let mut record = vec![0; 24];
            record.extend_from_slice(b"inner packet");
            sender.seal(5, 1, &mut record).unwrap();
            for bit in 0..record.len() * 8 {
                let mut forged = record.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    receiver.open(&mut forged, Time::default()).is_err(),
                    "bit {bit}"
                );
            }
            let opened = receiver.open(&mut record, Time::default()).unwrap();
            assert_eq!(opened.payload, b"inner packet");
        }
    }

    #[test]
    fn the_gcm_test_vector_with_the_tag_in_front() {
        // Test case 14 of the GCM specification: key, nonce and 16 bytes of plaintext all zero.
        let key = DirectionKey::new(Cipher::Aes256Gcm, &[0; 32]).unwrap();
        let sealed = key.0.algorithm();
        assert_eq!(sealed.tag_len(), TAG);
        let mut payload = [0; 16];
        let mut tag = [0; TAG];
        // The vector has no additional data; ours always has 8 bytes, hence by the library directly.
        key.0
            .seal_in_place_scatter(
                Nonce::assume_unique_for_key([0; 12]),
                Aad::empty(),
                &mut payload,
                &[],
                &mut tag,
            )
            .unwrap();
        assert_eq!(payload[..4], [0xce, 0xa7, 0x40, 0x3d]);
        assert_eq!(tag[..4], [0xd0, 0xd1, 0xc8, 0xa7]);
    }

    #[test]
    fn key_lengths_decide() {
        for len in 0..=64 {
            let aes = [16, 24, 32].contains(&len);
            assert_eq!(cipher(CipherAlg::AesGcm, len).is_some(), aes);
            assert_eq!(
                cipher(CipherAlg::ChaCha20Poly1305, len).is_some(),
                len == 32
            );
            for (cipher, right) in CIPHERS {
                assert_eq!(
                    DirectionKey::new(cipher, &vec![1; len]).is_some(),
                    len == right
                );
            }
        }
    }
}
