//! Files of peers: `ID TX_ID REMOTE_ADDRESS:PORT VPN_ADDRESS...`, one per line.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

/// Ten times what 100,000 peers take. A device such as `/dev/zero` never ends.
const LONGEST: u64 = 64 << 20;

/// A peer to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) id: u32,
    pub(super) tx_id: Option<u32>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) vpn4: Option<Ipv4Addr>,
    pub(super) vpn6: Option<Ipv6Addr>,
}

/// Reads a file, or standard input for "-".
pub(super) fn read(path: &Path) -> Result<Vec<Peer>> {
    let (text, name) = if path == Path::new("-") {
        (all(io::stdin()), "standard input".to_owned())
    } else {
        (File::open(path).and_then(all), path.display().to_string())
    };
    let text = text.with_context(|| format!("cannot read the peers from {name}"))?;
    let peers = parse(&text).with_context(|| name.clone())?;
    if peers.is_empty() {
        bail!("{name} contains no peers");
    }
    Ok(peers)
}

fn all(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(LONGEST + 1).read_to_string(&mut text)?;
    match text.len() as u64 > LONGEST {
        true => Err(io::Error::other("it is longer than 64 MiB")),
        false => Ok(text),
    }
}

fn parse(text: &str) -> Result<Vec<Peer>> {
    let mut peers: Vec<Peer> = Vec::new();
    let mut ids = HashSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let peer = parse_line(&words).with_context(|| format!("line {number}"))?;
        if !ids.insert(peer.id) {
            bail!("line {number}: peer {} is given twice", peer.id);
        }
        peers.push(peer);
    }
    Ok(peers)
}

fn parse_line(words: &[&str]) -> Result<Peer> {
    let [id, tx_id, remote, vpn @ ..] = words else {
        bail!(
            "expected ID TX_ID REMOTE_ADDRESS:PORT VPN_ADDRESS..., with \"-\" for omitted values"
        );
    };
    let number = |word: &str| {
        let number = word.parse().ok();
        number
            .filter(|id| i64::from(*id) <= super::MAX_PEER_ID)
            .with_context(|| format!("{word:?} is not a peer id (0 to {})", super::MAX_PEER_ID))
    };
    let mut peer = Peer {
        id: number(id)?,
        tx_id: given(tx_id).map(number).transpose()?,
        ..Peer::default()
    };
    if let Some(word) = given(remote) {
        let remote = super::remote(word);
        peer.remote = Some(remote.map_err(|why| anyhow!("{word:?} is not ADDRESS:PORT: {why}"))?);
    }
    for word in vpn.iter().filter_map(|word| given(word)) {
        match word.parse() {
            Ok(IpAddr::V4(address)) if peer.vpn4.is_none() => peer.vpn4 = Some(address),
            Ok(IpAddr::V6(address)) if peer.vpn6.is_none() => peer.vpn6 = Some(address),
            Ok(_) => bail!("{word}: a peer has one VPN address of each family"),
            Err(_) => bail!("{word:?} is not a VPN address"),
        }
    }
    Ok(peer)
}

fn given(word: &str) -> Option<&str> {
    (word != "-").then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_comments_and_dashes_are_read() {
        let text = "# the peers\n1 10 192.0.2.1:1194 10.8.0.2 fd00::2 # first\n\n 2 - [2001:db8::1]:5 -\n3 - - 10.8.0.4\n";
        let peers = parse(text).unwrap();
        let first = Peer {
            id: 1,
            tx_id: Some(10),
            remote: Some("192.0.2.1:1194".parse().unwrap()),
            vpn4: Some([10, 8, 0, 2].into()),
            vpn6: Some("fd00::2".parse().unwrap()),
        };
        assert_eq!(peers[0], first);
        assert_eq!((peers[1].tx_id, peers[1].vpn4), (None, None));
        assert_eq!((peers[2].id, peers[2].remote), (3, None));
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let refused = format!("{:#}", read(Path::new("/dev/zero")).unwrap_err());
        assert!(refused.contains("/dev/zero: it is longer"), "{refused}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, words) in [
            ("1 2", "line 1: expected ID TX_ID"),
            ("\nx - - -", "line 2: \"x\" is not a peer id"),
            ("16777216 - -", "is not a peer id"),
            ("1 - 192.0.2.1 -", "is not ADDRESS:PORT"),
            ("1 - 192.0.2.1:0 -", "is not ADDRESS:PORT"),
            ("1 - - 10.0.0.1 10.0.0.2", "one VPN address of each family"),
            ("1 - - x", "is not a VPN address"),
            ("1 - -\n1 - -", "line 2: peer 1 is given twice"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
