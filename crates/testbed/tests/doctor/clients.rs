//! Options in the files of `client-config-dir`: what is said of them is what OpenVPN does.

use std::fs;

use anyhow::{Result, ensure};
use udco_testbed::measure::Ping;
use udco_testbed::{CONNECT, Launch, Pair, Proto, Version, addresses as at};

use crate::{SOON, Said, file, pair};

/// What becomes of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Served,
    /// The server says so.
    Refused,
    /// The server has no keys for it, and 2.6 ends.
    HasNoKeys,
    /// It ends itself.
    Ends,
}

/// OpenVPN's words for a refusal.
const REFUSAL: &str = "client has been rejected due to incompatible DCO options";

/// Its words where the driver has no such peer.
const NO_KEYS: &str = "Impossible to install key material in DCO";

/// A client's file, how that client is started, the finding, and what happens.
const CASES: [(&str, Launch, &str, Outcome); 9] = [
    ("", Launch::Udco, "", Outcome::Served),
    ("compress migrate", Launch::Plain, "", Outcome::Served),
    (
        "comp-lzo no\ncompress migrate",
        Launch::Udco,
        "",
        Outcome::Served,
    ),
    (
        "push \"compress migrate\"",
        Launch::Udco,
        "",
        Outcome::Served,
    ),
    ("comp-lzo", Launch::Plain, "compression", Outcome::Refused),
    ("comp-lzo no", Launch::Udco, "compression", Outcome::Refused),
    (
        "compress lz4-v2",
        Launch::Plain,
        "compression",
        Outcome::Refused,
    ),
    (
        "disable-dco",
        Launch::Plain,
        "disable-dco",
        Outcome::HasNoKeys,
    ),
    (
        "push disable-dco",
        Launch::Udco,
        "disable-dco",
        Outcome::Ends,
    ),
];

#[test]
fn options_of_a_clients_file_do_to_it_what_is_said() -> Result<()> {
    for version in [Version::V26, Version::V27] {
        if version.is_here_or_skip() {
            for (text, launch, finding, outcome) in CASES {
                let Some(pair) = pair()? else { return Ok(()) };
                is_said(&pair, version, text, launch, finding)?;
                happens(&pair, version, launch, outcome)?;
                pair.lab.discard_logs();
            }
        }
    }
    Ok(())
}

fn is_said(pair: &Pair, version: Version, text: &str, launch: Launch, name: &str) -> Result<()> {
    let files = pair.server.directory().join("ccd");
    fs::create_dir(&files)?;
    fs::write(files.join("client"), format!("{text}\n"))?;
    let server = pair.server(Proto::Udp4).version(version).named("s");
    let line = format!("client-config-dir {}", files.display());
    server.line(&line).launch(Launch::Udco).write()?;
    let said = Said::of(&pair.server, &["--config", &file(&pair.server, "s.conf")])?;
    let wanted = Some(name).filter(|it| !it.is_empty());
    said.is("would-be-on", wanted.as_slice())?;
    let place = format!("({}:1)", files.join("client").display());
    let is_placed = said.json.to_string().contains(&place);
    ensure!(is_placed == wanted.is_some(), "{launch:?}: {:#}", said.json);
    Ok(())
}

fn happens(pair: &Pair, version: Version, launch: Launch, outcome: Outcome) -> Result<()> {
    let files = pair.server.directory().join("ccd");
    let line = format!("client-config-dir {}", files.display());
    let server = pair.server(Proto::Udp4).version(version).named("s");
    let mut server = server.line(&line).launch(Launch::Udco).spawn()?;
    server.wait_connected(CONNECT)?;
    let client = pair.client(Proto::Udp4).version(version).named("c");
    let mut client = client.launch(launch).spawn()?;
    match outcome {
        Outcome::Served => {
            client.wait_connected(CONNECT)?;
            Ping::to(at::INNER_SERVER).all_answered_once_keyed(&pair.client)?;
        }
        Outcome::Refused => server.wait_for_log(REFUSAL, SOON)?,
        Outcome::HasNoKeys => {
            server.wait_for_log(NO_KEYS, SOON)?;
            if version == Version::V26 {
                server.wait_end(SOON)?;
            }
        }
        Outcome::Ends => {
            client.wait_end(SOON)?;
        }
    }
    Ok(())
}
