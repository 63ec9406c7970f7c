//! aws-lc, in assembly for x86-64 and arm64 (design decision 9). It needs a C compiler.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{self, SystemRandom};
use udco_core::aead::NONCE;
use udco_core::wire::TAG;
use udco_core::{Aead, AeadFailed, Cipher, KeyDigest};

use crate::{InvalidKeyLength, NoRandomness};

/// A cipher with the key of one direction. The library wipes the key when it is dropped.
///
/// "Less safe" is the library's term for a key whose nonces the caller chooses; here each nonce comes from a
/// [`udco_core::PacketId`], which seals once.
#[derive(Debug)]
pub struct DirectionKey(LessSafeKey);

impl DirectionKey {
    /// A key of 16, 24 or 32 bytes, as `cipher` requires.
    ///
    /// # Errors
    /// [`InvalidKeyLength`].
    pub fn new(cipher: Cipher, key: &[u8]) -> Result<Self, InvalidKeyLength> {
        let algorithm = match cipher {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes192Gcm => &AES_192_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        UnboundKey::new(algorithm, key)
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| InvalidKeyLength)
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

/// Digests keys under a random secret, so that a key installed a second time is recognised long after the key itself is
/// gone (promises B9).
#[derive(Debug)]
pub struct Digester(hmac::Key);

impl Digester {
    /// A digester with a new secret.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn new() -> Result<Self, NoRandomness> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map(Self)
            .map_err(|_| NoRandomness)
    }

    /// The digest of a sending key and its nonce tail: 64 bits of HMAC-SHA256.
    #[must_use]
    pub fn digest(&self, cipher: Cipher, key: &[u8], nonce_tail: [u8; 8]) -> KeyDigest {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[cipher as u8]);
        context.update(&nonce_tail);
        context.update(key);
        let digest = context.sign();
        let first = digest.as_ref().first_chunk().copied();
        KeyDigest(u64::from_ne_bytes(first.unwrap_or_default()))
    }
}

/// Fills a buffer with random bytes from the system.
///
/// # Errors
/// [`NoRandomness`].
pub fn fill_random(buffer: &mut [u8]) -> Result<(), NoRandomness> {
    rand::fill(buffer).map_err(|_| NoRandomness)
}

#[cfg(test)]
#[path = "tests.rs"]
#[allow(clippy::duplicate_mod)] // The same tests for each implementation.
mod tests;
