//! `udco key`: the keys of a peer.
//!
//! Key bytes are never an argument, which every user can read, and never printed; they are wiped after use (promises
//! H1).

pub(crate) mod base64;
mod file;
mod generate;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use udco_netlink::client::{Command as Request, Received};
use udco_netlink::{Api, CipherAlg, KeyNew, Slot};

use crate::client::{Channel, Driver};
use crate::engines::{self, EngineOption};
use crate::output::line;
use crate::peer::{peer_id, request};
use crate::refusal::Refusal;
use crate::state;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install a key.
    #[command(after_help = "\
Example: udco key new tun0 --peer 1 --slot primary --key-id 0 --cipher aes-gcm --file key.txt --direction 0

The file contains either these lines, in hexadecimal, with comments after \"#\":
  encrypt-key: 16, 24 or 32 bytes (32 for chacha20-poly1305)
  encrypt-nonce-tail: 8 bytes
  decrypt-key: as encrypt-key
  decrypt-nonce-tail: 8 bytes
or, in base64, key A (32 bytes), key B (32 bytes) and a nonce tail for both directions (8 bytes), as `udco key generate`
writes it and ovpn-cli reads it. Both ends then use the same file: one with --direction 0, which encrypts with key A, the
other with --direction 1.")]
    New(NewArguments),

    /// Show the key in a slot: its id and cipher.
    #[command(after_help = "Example: udco key get tun0 --peer 1 --slot primary")]
    Get {
        #[command(flatten)]
        place: Place,
        /// Slot of the key.
        #[arg(long, value_enum)]
        slot: SlotName,
        /// Print a JSON object.
        #[arg(long)]
        json: bool,
    },

    /// Swap the primary and the secondary key.
    ///
    /// Refused without a secondary key: the peer would have no key to send with.
    #[command(after_help = "Example: udco key swap tun0 --peer 1")]
    Swap {
        #[command(flatten)]
        place: Place,
    },

    /// Delete a key.
    #[command(after_help = "Example: udco key del tun0 --peer 1 --slot secondary")]
    Del {
        #[command(flatten)]
        place: Place,
        /// Slot of the key.
        #[arg(long, value_enum)]
        slot: SlotName,
    },

    /// Generate a file of random keys for both ends of a tunnel.
    #[command(after_help = "Example: udco key generate key.txt")]
    Generate {
        /// File to create, readable by you only [default: standard output].
        file: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct NewArguments {
    #[command(flatten)]
    place: Place,
    /// Slot to install it in: the primary key encrypts and decrypts, the secondary only decrypts.
    #[arg(long, value_enum)]
    slot: SlotName,
    /// Key id in packets, 0 to 7.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=7))]
    key_id: u8,
    /// Cipher; the length of the key selects the AES variant.
    #[arg(long, value_parser = cipher())]
    cipher: CipherAlg,
    /// File with the key, or "-" for standard input.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// For a base64 file: which of its keys encrypts at this end.
    #[arg(long, value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1))]
    direction: Option<u8>,
}

/// Whose key.
#[derive(Debug, clap::Args)]
struct Place {
    /// Name of the device.
    #[arg(value_parser = crate::interface::argument)]
    device: String,
    /// Id of the peer.
    #[arg(long, value_name = "ID", value_parser = peer_id())]
    peer: u32,
    #[command(flatten)]
    engine: EngineOption,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SlotName {
    Primary,
    Secondary,
}

/// Parses the name of a cipher.
fn cipher() -> impl TypedValueParser<Value = CipherAlg> {
    let names = PossibleValuesParser::new(CipherAlg::ALL.map(CipherAlg::name));
    names.try_map(|name| {
        let mut all = CipherAlg::ALL.into_iter();
        all.find(|it| it.name() == name).ok_or("no such cipher")
    })
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::New(arguments) => install(arguments).context("key new"),
        Command::Get { place, slot, json } => show(place, *slot, *json).context("key get"),
        Command::Swap { place } => swap(place).context("key swap"),
        Command::Del { place, slot } => {
            let command = Request::KeyDel(place.peer, slot.slot());
            place.request(&command).context("key del")
        }
        Command::Generate { file } => generate::run(file.as_deref()).context("key generate"),
    }
}

fn install(arguments: &NewArguments) -> Result<()> {
    let _ = udco_sys::process::forbid_core_dumps();
    let keys = file::read(&arguments.file, arguments.direction)?;
    for key in [&keys.encrypt, &keys.decrypt] {
        let (bytes, lens) = (key.key.len(), arguments.cipher.key_lens());
        if !lens.contains(&bytes) {
            let lens: Vec<_> = lens.iter().map(ToString::to_string).collect();
            let (name, lens) = (arguments.cipher.name(), lens.join(" or "));
            bail!("a key for {name} has {lens} bytes, not {bytes}");
        }
    }
    let key = KeyNew {
        peer: arguments.place.peer,
        slot: arguments.slot.slot(),
        key_id: arguments.key_id,
        cipher: arguments.cipher,
        encrypt: keys.encrypt.for_api(),
        decrypt: keys.decrypt.for_api(),
    };
    arguments.place.request(&Request::KeyNew(&key))
}

/// The drivers swap with an empty slot, too (dco-behaviour 2.12), and say nothing.
fn swap(place: &Place) -> Result<()> {
    let (device, peer) = (&place.device, place.peer);
    if lacks_secondary(place)? {
        bail!(
            "{device}: peer {peer} has no secondary key: after a swap it would have no key to send with; install one first, with \
             `udco key new {device} --peer {peer} --slot secondary …`"
        );
    }
    place.request(&Request::KeySwap(peer))
}

/// Whether the peer is there, and has no secondary key. Of what cannot be asked, the driver says more when it refuses.
fn lacks_secondary(place: &Place) -> Result<bool> {
    let found = engines::with_device(&place.device, &place.engine)?;
    if found.api == Api::DcoV2
        && let Driver::Engine(mut client) = found.driver
    {
        // This API has no request that reports a key.
        let peers = state::peers_of(&mut client, found.ifindex)?;
        let mut peers = peers.iter();
        let peer = peers.find(|it| it.id == place.peer);
        return Ok(peer.is_some_and(|it| it.keys.secondary.is_none()));
    }
    let mut channel = Channel::open(found.driver, &[found.api])?;
    let mut ask = |command: Request<'_>| channel.request(found.ifindex, &command, None);
    Ok(match ask(Request::KeyGet(place.peer, Slot::Secondary)) {
        Err(error) if Refusal::is_absence(&error) => ask(Request::PeerGet(place.peer)).is_ok(),
        _ => false,
    })
}

fn show(place: &Place, slot: SlotName, json: bool) -> Result<()> {
    let command = Request::KeyGet(place.peer, slot.slot());
    let received = request(&place.device, &place.engine, &command)?;
    let key = received.into_iter().find_map(|received| match received {
        Received::Key(key) => Some(key),
        _ => None,
    });
    let key = key.context("unexpected reply from the engine (version mismatch?)")?;
    let cipher = key.cipher.name();
    let slot = key.slot.name();
    if json {
        let object = json!({
            "peer": key.peer,
            "slot": slot,
            "key_id": key.key_id,
            "cipher": cipher,
        });
        line!("{}", serde_json::to_string_pretty(&object)?);
    } else {
        line!("peer {}: {slot} key {} ({cipher})", key.peer, key.key_id);
    }
    Ok(())
}

impl Place {
    fn request(&self, command: &Request<'_>) -> Result<()> {
        request(&self.device, &self.engine, command).map(drop)
    }
}

impl SlotName {
    const fn slot(self) -> Slot {
        match self {
            Self::Primary => Slot::Primary,
            Self::Secondary => Slot::Secondary,
        }
    }
}
