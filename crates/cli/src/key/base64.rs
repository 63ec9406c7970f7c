//! Base64 of RFC 4648, for keys: decoded bytes are wiped, and never move as the buffer grows.

use zeroize::Zeroizing;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes bytes as text, padded.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    for chunk in bytes.chunks(3) {
        let mut group = 0;
        for at in 0..3 {
            group = group << 8 | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..4 {
            let digit = group >> (18 - 6 * at) & 63;
            let digit = DIGITS.get(digit as usize).copied().unwrap_or(b'=');
            text.push(char::from(if at <= chunk.len() { digit } else { b'=' }));
        }
    }
    text
}

/// Decodes text that may span several lines; `None` if it is not base64.
pub(crate) fn decode(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let digits = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    let (mut group, mut bits, mut padding) = (0_u32, 0, 0);
    for &digit in digits {
        if digit == b'=' {
            padding += 1;
            continue;
        }
        let value = DIGITS.iter().position(|&known| known == digit)?;
        if padding > 0 {
            return None;
        }
        group = (group << 6 | u32::try_from(value).ok()?) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((group >> bits & 0xff) as u8);
        }
    }
    // A lone digit at the end, or one digit of padding too many.
    (bits < 6 && padding <= 2).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(*encode(bytes.as_bytes()), text);
            assert_eq!(
                decode(text.as_bytes()).unwrap().as_slice(),
                bytes.as_bytes()
            );
        }
        assert_eq!(decode(b"Zm9v\nYmFy\n").unwrap().as_slice(), b"foobar");
        for bad in ["Z", "Zg=a", "Zm9v!", "Zg===", "Zm9vY"] {
            assert!(decode(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
