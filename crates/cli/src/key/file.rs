//! Files of keys. Their contents are wiped, and never appear in messages.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use udco_netlink::KeyDirection;
use zeroize::Zeroizing;

use super::base64;
use crate::output::complain;

/// More than any key file holds.
const LARGEST: usize = 4096;

/// Bytes of a nonce tail, and of a key of the base64 format.
const TAIL: usize = 8;
const KEY: usize = 32;

/// The longest key that the API takes.
const LONGEST_KEY: usize = 256;

/// The keys of both directions.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) encrypt: Direction,
    pub(super) decrypt: Direction,
}

/// The key of one direction.
#[derive(Default)]
pub(super) struct Direction {
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) nonce_tail: Zeroizing<[u8; TAIL]>,
}

impl Direction {
    /// As the API takes it.
    pub(super) fn for_api(&self) -> KeyDirection<'_> {
        KeyDirection {
            key: &self.key,
            nonce_tail: *self.nonce_tail,
        }
    }
}

/// Reads a file, or standard input for "-". `direction` chooses the key that encrypts, unless the file does.
pub(super) fn read(path: &Path, direction: Option<u8>) -> Result<Keys> {
    let is_stdin = path == Path::new("-");
    let name = match is_stdin {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    };
    // Bypass the standard library's streams: their buffers would not be wiped.
    let mut buffer = Zeroizing::new(vec![0; LARGEST + 1]);
    let mut is_exposed = false;
    let len = if is_stdin {
        fill(std::io::stdin().as_fd(), &mut buffer)
    } else {
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        is_exposed = file
            .metadata()
            .is_ok_and(|it| it.is_file() && it.mode() & 0o044 != 0);
        fill(file.as_fd(), &mut buffer)
    };
    let len = len.with_context(|| format!("cannot read {name}"))?;
    if len > LARGEST {
        bail!("{name} is not a key file: it is larger than {LARGEST} bytes");
    }
    let text = buffer.get(..len).unwrap_or_default();
    let keys = parse(text, direction).with_context(|| name.clone())?;
    // Only now is it known to be a key file: leave others untouched (faults G5).
    if is_exposed {
        complain!(
            "warning: others can read {name}, so its key is not secret: generate a new file with `udco key generate`, which \
             only its owner can read"
        );
    }
    Ok(keys)
}

fn fill(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while let Some(room) = buffer.get_mut(len..).filter(|room| !room.is_empty()) {
        match rustix::io::read(fd, room) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(len)
}

fn parse(text: &[u8], direction: Option<u8>) -> Result<Keys> {
    let lines = || {
        let lines = text.split(|&byte| byte == b'\n');
        let lines = lines.map(|line| {
            let comment = line.iter().position(|&byte| byte == b'#');
            line.get(..comment.unwrap_or(line.len()))
                .unwrap_or(line)
                .trim_ascii()
        });
        (1..).zip(lines).filter(|(_, line)| !line.is_empty())
    };
    if lines().next().is_none() {
        bail!("there is no key in it: generate a file with `udco key generate`");
    }
    let named = lines().any(|(_, line)| line.contains(&b':'));
    match (named, direction) {
        (true, direction) => {
            let keys = parse_named(lines())?;
            if direction.is_some() {
                bail!("the file itself says which key encrypts: omit --direction");
            }
            Ok(keys)
        }
        (false, Some(direction)) => {
            let mut joined = Zeroizing::new(Vec::with_capacity(text.len()));
            lines().for_each(|(_, line)| joined.extend_from_slice(line));
            parse_pair(&joined, direction)
        }
        (false, None) => bail!(
            "the file has two keys: choose with --direction 0 or 1 which one encrypts here; the other end uses the other"
        ),
    }
}

/// Lines of names and hexadecimal digits.
fn parse_named<'a>(lines: impl Iterator<Item = (usize, &'a [u8])>) -> Result<Keys> {
    const NAMES: [&str; 4] = [
        "encrypt-key",
        "encrypt-nonce-tail",
        "decrypt-key",
        "decrypt-nonce-tail",
    ];
    let mut found: [Option<Zeroizing<Vec<u8>>>; 4] = Default::default();
    for (number, line) in lines {
        let colon = line.iter().position(|&byte| byte == b':');
        let at = colon.and_then(|at| {
            let name = line.get(..at)?.trim_ascii();
            NAMES.iter().position(|known| known.as_bytes() == name)
        });
        // Do not quote the line: it may be a key.
        let (Some(colon), Some(at)) = (colon, at) else {
            bail!(
                "line {number}: expected one of {}, followed by a colon",
                NAMES.join(", ")
            );
        };
        let name = NAMES.get(at).copied().unwrap_or_default();
        let digits = line.get(colon + 1..).unwrap_or_default().trim_ascii();
        let bytes =
            hex(digits).with_context(|| format!("line {number}: {name} is not hexadecimal"))?;
        let fits = match at {
            1 | 3 => bytes.len() == TAIL,
            _ => (1..=LONGEST_KEY).contains(&bytes.len()),
        };
        if !fits {
            bail!(
                "line {number}: {name} has {} bytes, which is not a valid length",
                bytes.len()
            );
        }
        match found.get_mut(at) {
            Some(Some(_)) => bail!("line {number}: {name} is given twice"),
            Some(place) => *place = Some(bytes),
            None => {}
        }
    }
    let mut found = NAMES.into_iter().zip(found);
    let mut next = || match found.next() {
        Some((_, Some(bytes))) => Ok(bytes),
        Some((name, None)) => bail!("{name} is missing"),
        None => bail!("the key is missing"),
    };
    let mut direction = || {
        Ok::<_, anyhow::Error>(Direction {
            key: next()?,
            nonce_tail: tail(&next()?)?,
        })
    };
    Ok(Keys {
        encrypt: direction()?,
        decrypt: direction()?,
    })
}

/// Key A, key B, and a nonce tail for both directions, in base64: the format of ovpn-cli (dco-behaviour 6.1).
fn parse_pair(text: &[u8], direction: u8) -> Result<Keys> {
    let bytes = base64::decode(text).context("the file is neither named lines nor base64")?;
    let wanted = 2 * KEY + TAIL;
    let (Some(a), Some(b), Some(nonce_tail)) = (
        bytes.get(..KEY),
        bytes.get(KEY..2 * KEY),
        bytes.get(2 * KEY..wanted),
    ) else {
        bail!(
            "the file has {} bytes in base64, but at least {wanted} are needed",
            bytes.len()
        );
    };
    let half = |key: &[u8]| {
        Ok::<_, anyhow::Error>(Direction {
            key: Zeroizing::new(key.to_vec()),
            nonce_tail: tail(nonce_tail)?,
        })
    };
    let (encrypt, decrypt) = if direction == 0 { (a, b) } else { (b, a) };
    Ok(Keys {
        encrypt: half(encrypt)?,
        decrypt: half(decrypt)?,
    })
}

fn tail(bytes: &[u8]) -> Result<Zeroizing<[u8; TAIL]>> {
    let tail = bytes.try_into().context("a nonce tail has 8 bytes")?;
    Ok(Zeroizing::new(tail))
}

fn hex(digits: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks_exact(2) {
        let [high, low] = *pair else {
            return None;
        };
        let value = |digit: u8| char::from(digit).to_digit(16);
        bytes.push(u8::try_from(value(high)? << 4 | value(low)?).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: &str = "\
# of the left end
encrypt-key: 000102030405060708090a0b0c0d0e0f
encrypt-nonce-tail: 0001020304050607 # eight
decrypt-key:1F0102030405060708090a0b0c0d0e0f
  decrypt-nonce-tail : 1001020304050607
";

    fn refusal(text: &str, direction: Option<u8>) -> String {
        match parse(text.as_bytes(), direction) {
            Ok(_) => panic!("accepted: {text}"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn named_lines_are_read() {
        let keys = parse(NAMED.as_bytes(), None).unwrap();
        assert_eq!(keys.encrypt.key[..2], [0, 1]);
        assert_eq!((keys.encrypt.key.len(), keys.decrypt.key[0]), (16, 0x1f));
        assert_eq!(*keys.encrypt.nonce_tail, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(keys.decrypt.nonce_tail[0], 0x10);
    }

    #[test]
    fn a_pair_is_read_for_either_end() {
        let bytes: Vec<u8> = (0..72).collect();
        let text = format!("# both ends\n{}\n", *base64::encode(&bytes));
        let left = parse(text.as_bytes(), Some(0)).unwrap();
        let right = parse(text.as_bytes(), Some(1)).unwrap();
        assert_eq!(left.encrypt.key[..], bytes[..32]);
        assert_eq!(left.decrypt.key[..], bytes[32..64]);
        assert_eq!(left.encrypt.key, right.decrypt.key);
        assert_eq!(left.decrypt.key, right.encrypt.key);
        assert_eq!(left.encrypt.nonce_tail[..], bytes[64..]);
        // More than needed, on several lines.
        let long = base64::encode(&[7; 192]);
        let (one, other) = long.split_at(64);
        assert!(parse(format!("{one}\n{other}").as_bytes(), Some(1)).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named_but_never_the_key() {
        let short = NAMED.replace("0001020304050607 #", "0001 #");
        let twice = format!("{NAMED}encrypt-key: 00\n");
        let without = NAMED.replace("decrypt-key:", "# decrypt-key:");
        let odd = NAMED.replace("decrypt-key:1F", "decrypt-key:1");
        let unknown = NAMED.replace("decrypt-key:", "c0ffee:");
        for (text, direction, words) in [
            (NAMED, Some(0), "omit --direction"),
            (&short, None, "line 3: encrypt-nonce-tail has 2 bytes"),
            (&twice, None, "line 6: encrypt-key is given twice"),
            (&without, None, "decrypt-key is missing"),
            (&odd, None, "line 4: decrypt-key is not hexadecimal"),
            (&unknown, None, "line 4: expected one of encrypt-key"),
            ("AAAA", None, "--direction 0 or 1"),
            ("AAAA", Some(1), "3 bytes in base64"),
            ("c0ffee!", Some(1), "neither named lines nor base64"),
            ("", Some(1), "there is no key in it"),
            ("\n# nothing\n", None, "there is no key in it"),
        ] {
            let error = refusal(text, direction);
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("c0ffee"), "{error}");
        }
    }
}
