//! RustCrypto, for targets without a C compiler (design decision 9). It uses the processor's instructions for AES and
//! carry-less multiplication where it has them, and is slower than aws-lc everywhere.

use alloc::boxed::Box;
use core::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit, Nonce};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, aead::consts::U12, aead::consts::U16};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use udco_core::aead::NONCE;
use udco_core::wire::TAG;
use udco_core::{Aead, AeadFailed, Cipher, KeyDigest};
use zeroize::Zeroizing;

use crate::{InvalidKeyLength, NoRandomness};

/// A cipher with the key of one direction. The library wipes the key when it is dropped.
///
/// Boxed, so that moving it copies a pointer and leaves no key behind.
pub struct DirectionKey(Box<Implementation>);

enum Implementation {
    Aes128Gcm(AesGcm<Aes128, U12>),
    Aes192Gcm(AesGcm<Aes192, U12>),
    Aes256Gcm(AesGcm<Aes256, U12>),
    ChaCha20Poly1305(ChaCha20Poly1305),
}

impl DirectionKey {
    /// A key of 16, 24 or 32 bytes, as `cipher` requires.
    ///
    /// # Errors
    /// [`InvalidKeyLength`].
    pub fn new(cipher: Cipher, key: &[u8]) -> Result<Self, InvalidKeyLength> {
        match cipher {
            Cipher::Aes128Gcm => AesGcm::new_from_slice(key).map(Implementation::Aes128Gcm),
            Cipher::Aes192Gcm => AesGcm::new_from_slice(key).map(Implementation::Aes192Gcm),
            Cipher::Aes256Gcm => AesGcm::new_from_slice(key).map(Implementation::Aes256Gcm),
            Cipher::ChaCha20Poly1305 => {
                ChaCha20Poly1305::new_from_slice(key).map(Implementation::ChaCha20Poly1305)
            }
        }
        .map(|cipher| Self(Box::new(cipher)))
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
        match &*self.0 {
            Implementation::Aes128Gcm(cipher) => seal(cipher, nonce, aad, payload, tag),
            Implementation::Aes192Gcm(cipher) => seal(cipher, nonce, aad, payload, tag),
            Implementation::Aes256Gcm(cipher) => seal(cipher, nonce, aad, payload, tag),
            Implementation::ChaCha20Poly1305(cipher) => seal(cipher, nonce, aad, payload, tag),
        }
    }

    fn open(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        payload: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), AeadFailed> {
        match &*self.0 {
            Implementation::Aes128Gcm(cipher) => open(cipher, nonce, aad, payload, tag),
            Implementation::Aes192Gcm(cipher) => open(cipher, nonce, aad, payload, tag),
            Implementation::Aes256Gcm(cipher) => open(cipher, nonce, aad, payload, tag),
            Implementation::ChaCha20Poly1305(cipher) => open(cipher, nonce, aad, payload, tag),
        }
    }
}

fn seal<C: AeadInOut<NonceSize = U12, TagSize = U16>>(
    cipher: &C,
    nonce: [u8; NONCE],
    aad: &[u8],
    payload: &mut [u8],
    tag: &mut [u8; TAG],
) -> Result<(), AeadFailed> {
    let sealed = cipher.encrypt_inout_detached(&Nonce::<C>::from(nonce), aad, payload.into());
    *tag = sealed.map_err(|_| AeadFailed)?.into();
    Ok(())
}

fn open<C: AeadInOut<NonceSize = U12, TagSize = U16>>(
    cipher: &C,
    nonce: [u8; NONCE],
    aad: &[u8],
    payload: &mut [u8],
    tag: &[u8; TAG],
) -> Result<(), AeadFailed> {
    cipher
        .decrypt_inout_detached(
            &Nonce::<C>::from(nonce),
            aad,
            payload.into(),
            &(*tag).into(),
        )
        .map_err(|_| AeadFailed)
}

impl fmt::Debug for DirectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectionKey")
    }
}

/// Digests keys under a random secret, so that a key installed a second time is recognised long after the key itself is
/// gone (promises B9).
#[derive(Debug)]
pub struct Digester(Box<Hmac<Sha256>>);

impl Digester {
    /// A digester with a new secret.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn new() -> Result<Self, NoRandomness> {
        let mut secret = Zeroizing::new([0; 32]);
        fill_random(&mut *secret)?;
        // HMAC takes keys of any length.
        let keyed = Hmac::new_from_slice(&*secret).map_err(|_| NoRandomness)?;
        Ok(Self(Box::new(keyed)))
    }

    /// The digest of a sending key and its nonce tail: 64 bits of HMAC-SHA256.
    #[must_use]
    pub fn digest(&self, cipher: Cipher, key: &[u8], nonce_tail: [u8; 8]) -> KeyDigest {
        let mut keyed = Hmac::clone(&self.0);
        keyed.update(&[cipher as u8]);
        keyed.update(&nonce_tail);
        keyed.update(key);
        let digest = keyed.finalize().into_bytes();
        let first = digest.first_chunk().copied();
        KeyDigest(u64::from_ne_bytes(first.unwrap_or_default()))
    }
}

/// Fills a buffer with random bytes from the system.
///
/// # Errors
/// [`NoRandomness`].
pub fn fill_random(buffer: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(buffer).map_err(|_| NoRandomness)
}

#[cfg(test)]
#[path = "tests.rs"]
#[allow(clippy::duplicate_mod)] // The same tests for each implementation.
mod tests;

#[cfg(test)]
mod wiping_tests {
    use super::*;
    use zeroize::ZeroizeOnDrop;

    /// Compiles only if the library promises to wipe it, which takes its `zeroize` features.
    fn is_wiped<T: ZeroizeOnDrop>() {}

    #[test]
    fn each_cipher_wipes_its_key() {
        is_wiped::<AesGcm<Aes128, U12>>();
        is_wiped::<AesGcm<Aes192, U12>>();
        is_wiped::<AesGcm<Aes256, U12>>();
        is_wiped::<ChaCha20Poly1305>();
    }
}
