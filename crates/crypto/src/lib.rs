//! The cryptography of the data channel: ciphers behind [`udco_core::Aead`], a keyed digest that recognises keys, and
//! random numbers.
//!
//! There are two implementations, chosen at compile time: `aws_lc` (feature `aws-lc`, the default) and `rustcrypto`
//! (feature `rustcrypto`), which needs no C compiler. If both are enabled, the items at the root are those of aws-lc.
//!
//! Keys are wiped from memory when they are dropped (promises H1).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![warn(clippy::std_instead_of_core, clippy::alloc_instead_of_core)]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

#[cfg(feature = "rustcrypto")]
extern crate alloc;

#[cfg(not(any(feature = "aws-lc", feature = "rustcrypto")))]
compile_error!("udco-crypto needs one of its features: `aws-lc` or `rustcrypto`");

#[cfg(feature = "aws-lc")]
pub mod aws_lc;
#[cfg(feature = "rustcrypto")]
pub mod rustcrypto;

use core::fmt;

#[cfg(feature = "aws-lc")]
pub use aws_lc::{Digester, DirectionKey, fill_random};
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc")))]
pub use rustcrypto::{Digester, DirectionKey, fill_random};

/// The cipher takes no key of this length (dco-behaviour 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeyLength;

impl fmt::Display for InvalidKeyLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key does not have the length that its cipher requires")
    }
}

impl core::error::Error for InvalidKeyLength {}

/// The system's random number generator failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system's random number generator failed")
    }
}

impl core::error::Error for NoRandomness {}

#[cfg(all(test, feature = "aws-lc", feature = "rustcrypto"))]
mod interop_tests;

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
