//! Each implementation opens what the other has sealed.

use proptest::prelude::*;
use udco_core::{Aead, Cipher};

use crate::{aws_lc, rustcrypto};

proptest! {
    #[test]
    fn both_implementations_make_the_same_records(
        cipher in proptest::sample::select(&Cipher::ALL),
        secret in any::<[u8; 32]>(),
        nonce in any::<[u8; 12]>(),
        aad in prop::collection::vec(any::<u8>(), 0..32),
        plaintext in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let secret = &secret[..cipher.key_len()];
        let one = aws_lc::DirectionKey::new(cipher, secret).unwrap();
        let other = rustcrypto::DirectionKey::new(cipher, secret).unwrap();
        let (mut sealed, mut tag) = (plaintext.clone(), [0; 16]);
        one.seal(nonce, &aad, &mut sealed, &mut tag).unwrap();
        let (mut again, mut tag_again) = (plaintext.clone(), [0; 16]);
        other.seal(nonce, &aad, &mut again, &mut tag_again).unwrap();
        prop_assert_eq!((&sealed, &tag), (&again, &tag_again));
        prop_assert_eq!(other.open(nonce, &aad, &mut sealed, &tag), Ok(()));
        prop_assert_eq!(sealed, plaintext);
    }
}
