//! The tests that every implementation must pass: each includes this file.

use proptest::prelude::*;
use udco_core::{Aead, AeadFailed, Cipher, Key, KeyId, KeyMaterial, PeerId, Time};

use super::{Digester, DirectionKey, fill_random};
use crate::InvalidKeyLength;

/// A published test vector, in hexadecimal.
struct Vector {
    cipher: Cipher,
    key: &'static str,
    nonce: &'static str,
    aad: &'static str,
    plaintext: &'static str,
    ciphertext: &'static str,
    tag: &'static str,
}

/// A vector of the GCM specification (McGrew and Viega); there is one for each key length.
const fn gcm(
    cipher: Cipher,
    key: &'static str,
    ciphertext: &'static str,
    tag: &'static str,
) -> Vector {
    Vector {
        cipher,
        key,
        nonce: "cafebabefacedbaddecaf888",
        aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        plaintext: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b5\
            25b16aedf5aa0de657ba637b39",
        ciphertext,
        tag,
    }
}

const VECTORS: [Vector; 4] = [
    // Test case 4.
    gcm(
        Cipher::Aes128Gcm,
        "feffe9928665731c6d6a8f9467308308",
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a\
         0aac973d58e091",
        "5bc94fbc3221a5db94fae95ae7121a47",
    ),
    // Test case 10.
    gcm(
        Cipher::Aes192Gcm,
        "feffe9928665731c6d6a8f9467308308feffe9928665731c",
        "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f4718e2448b2f\
         e324d9ccda2710",
        "2519498e80f1478f37ba55bd6d27618c",
    ),
    // Test case 16.
    gcm(
        Cipher::Aes256Gcm,
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393\
         ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
    // RFC 8439, section 2.8.2.
    Vector {
        cipher: Cipher::ChaCha20Poly1305,
        key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        nonce: "070000004041424344454647",
        aad: "50515253c0c1c2c3c4c5c6c7",
        plaintext: "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f\
            756c64206f6666657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20\
            776f756c642062652069742e",
        ciphertext: "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a\
            71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b\
            7a9de576d26586cec64b6116",
        tag: "1ae10b594f09e26a7e902ecbd0600691",
    },
];

fn hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn published_vectors() {
    for vector in VECTORS {
        let cipher = DirectionKey::new(vector.cipher, &hex(vector.key)).unwrap();
        let nonce = hex(vector.nonce).try_into().unwrap();
        let (aad, plaintext) = (hex(vector.aad), hex(vector.plaintext));
        let (mut payload, mut tag) = (plaintext.clone(), [0; 16]);
        cipher.seal(nonce, &aad, &mut payload, &mut tag).unwrap();
        assert_eq!(payload, hex(vector.ciphertext), "{:?}", vector.cipher);
        assert_eq!(tag.as_slice(), hex(vector.tag), "{:?}", vector.cipher);
        cipher.open(nonce, &aad, &mut payload, &tag).unwrap();
        assert_eq!(payload, plaintext);
    }
}

fn key(cipher: Cipher) -> Key<DirectionKey> {
    let secret = vec![7; cipher.key_len()];
    Key::new(KeyMaterial {
        id: KeyId::new(1).unwrap(),
        cipher,
        encrypt: DirectionKey::new(cipher, &secret).unwrap(),
        decrypt: DirectionKey::new(cipher, &secret).unwrap(),
        encrypt_nonce_tail: [1; 8],
        decrypt_nonce_tail: [1; 8],
    })
}

#[test]
fn each_cipher_opens_what_it_sealed_and_nothing_else() {
    for cipher in Cipher::ALL {
        let (sender, receiver) = (key(cipher), key(cipher));
        let mut record = vec![0; 24];
        record.extend_from_slice(b"inner packet");
        let packet_id = sender.next_packet_id().unwrap();
        packet_id.seal(PeerId::from(5), &mut record).unwrap();
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
fn a_cipher_takes_only_keys_of_its_length() {
    for cipher in Cipher::ALL {
        for len in 0..=64 {
            let key = DirectionKey::new(cipher, &vec![1; len]);
            let expected = match len == cipher.key_len() {
                true => None,
                false => Some(InvalidKeyLength),
            };
            assert_eq!(key.err(), expected, "{cipher:?}, {len} bytes");
        }
    }
}

#[test]
fn a_digest_covers_cipher_tail_and_key_and_the_digesters_secret() {
    let digester = Digester::new().unwrap();
    let digest = |cipher, key: u8, tail: u8| digester.digest(cipher, &[key; 32], [tail; 8]);
    let one = digest(Cipher::Aes256Gcm, 1, 1);
    assert_eq!(digest(Cipher::Aes256Gcm, 1, 1), one);
    assert_ne!(digest(Cipher::ChaCha20Poly1305, 1, 1), one);
    assert_ne!(digest(Cipher::Aes256Gcm, 2, 1), one);
    assert_ne!(digest(Cipher::Aes256Gcm, 1, 2), one);
    let another = Digester::new().unwrap();
    assert_ne!(another.digest(Cipher::Aes256Gcm, &[1; 32], [1; 8]), one);
}

#[test]
fn random_bytes_fill_the_buffer_and_differ() {
    let mut buffers = [[0; 32]; 2];
    for buffer in &mut buffers {
        fill_random(buffer).unwrap();
    }
    let [one, other] = buffers;
    assert!(one != other && one[24..] != [0; 8]);
}

fn ciphers() -> impl Strategy<Value = Cipher> {
    proptest::sample::select(&Cipher::ALL)
}

proptest! {
    #[test]
    fn what_is_sealed_opens_unless_anything_differs(
        cipher in ciphers(),
        secret in any::<[u8; 32]>(),
        nonce in any::<[u8; 12]>(),
        aad in prop::collection::vec(any::<u8>(), 0..32),
        plaintext in prop::collection::vec(any::<u8>(), 0..300),
        (place, flip) in (any::<prop::sample::Index>(), 1..=u8::MAX),
    ) {
        let key = DirectionKey::new(cipher, &secret[..cipher.key_len()]).unwrap();
        let (mut sealed, mut tag) = (plaintext.clone(), [0; 16]);
        key.seal(nonce, &aad, &mut sealed, &mut tag).unwrap();
        let mut opened = sealed.clone();
        prop_assert_eq!(key.open(nonce, &aad, &mut opened, &tag), Ok(()));
        prop_assert_eq!(&opened, &plaintext);

        // Change one byte of nonce, header, ciphertext or tag.
        let (mut nonce, mut aad) = (nonce, aad);
        let all = nonce.iter_mut().chain(&mut aad).chain(&mut sealed).chain(&mut tag);
        let all: Vec<&mut u8> = all.collect();
        let place = place.index(all.len());
        all.into_iter().skip(place).take(1).for_each(|byte| *byte ^= flip);
        prop_assert_eq!(key.open(nonce, &aad, &mut sealed, &tag), Err(AeadFailed));
    }
}
