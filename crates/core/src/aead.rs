//! The interface to a cipher: authenticated encryption with a detached tag, because OpenVPN puts the tag before the
//! ciphertext (design decision 9).

use core::fmt;

use crate::wire::TAG;

/// Length of a nonce in bytes: packet id (4) and nonce tail (8).
pub const NONCE: usize = 12;

/// A cipher with a key for one direction.
pub trait Aead: Send + Sync {
    /// Encrypts `payload` in place and writes the tag, which covers the ciphertext and `aad`. The caller must never
    /// pass a nonce twice.
    ///
    /// # Errors
    /// [`AeadFailed`] if the payload is too long for the cipher.
    fn seal(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        payload: &mut [u8],
        tag: &mut [u8; TAG],
    ) -> Result<(), AeadFailed>;

    /// Decrypts `payload` in place if the tag is right. After a failure the contents of `payload` are unspecified.
    ///
    /// # Errors
    /// [`AeadFailed`] if the tag is wrong.
    fn open(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        payload: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), AeadFailed>;
}

/// The tag is wrong, or the payload is too long for the cipher. It deliberately does not say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AeadFailed;

impl fmt::Display for AeadFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cipher failed: wrong tag, or payload too long")
    }
}

impl core::error::Error for AeadFailed {}

/// The ciphers of the data channel (dco-behaviour 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-192-GCM.
    Aes192Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// CHACHA20-POLY1305 of RFC 8439.
    ChaCha20Poly1305,
}

impl Cipher {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Aes128Gcm,
        Self::Aes192Gcm,
        Self::Aes256Gcm,
        Self::ChaCha20Poly1305,
    ];

    /// AES-GCM with a key of `key_len` bytes: 16, 24 or 32.
    #[must_use]
    pub const fn aes_gcm(key_len: usize) -> Option<Self> {
        match key_len {
            16 => Some(Self::Aes128Gcm),
            24 => Some(Self::Aes192Gcm),
            32 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// Key length in bytes.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes192Gcm => 24,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// OpenVPN's name for the cipher.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes192Gcm => "AES-192-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::ChaCha20Poly1305 => "CHACHA20-POLY1305",
        }
    }
}
