//! `udco capture`: the packets of a device as the engine's workers see them, and those that they drop, as pcapng.

mod blocks;
mod file;
mod headers;
mod pending;
mod time_of_day;

use std::fs::OpenOptions;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use udco_ipc::capture::Wanted;
use udco_ipc::{Malformed, ToClient, ToEngine};
use udco_sys::process;
use udco_sys::seqpacket::Connection;
use udco_sys::signal::Termination;

use self::file::File;
use self::pending::Pending;
use self::time_of_day::TimeOfDay;
use crate::client::{Client, Driver, wait};
use crate::engines::{self, EngineOption};
use crate::output::{self, NobodyReads, complain, unwritable};
use crate::{ended, refusal, state};

/// Bytes to request for packets that wait in the socket. The kernel gives twice as much, for what it keeps beside them.
const SOCKET: usize = 4 << 20;

/// How often to look whether a reader behind a pipe has gone.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the device.
    #[arg(value_parser = crate::interface::argument)]
    device: String,
    /// File to write, or "-" for standard output.
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    /// Only packets of the peer with this id.
    #[arg(long, value_name = "ID", value_parser = crate::peer::peer_id())]
    peer: Option<u32>,
    /// Only packets inside the tunnel [default: inner and outer packets, and drops].
    #[arg(long)]
    inner: bool,
    /// Only packets outside the tunnel.
    #[arg(long)]
    outer: bool,
    /// Only packets that are dropped, each with the reason as its comment.
    #[arg(long)]
    drops: bool,
    /// End after this many packets.
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Capture this many bytes of each packet.
    #[arg(short, long, value_name = "BYTES", default_value_t = 65_535, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    snap: u32,
    #[command(flatten)]
    engine: EngineOption,
}

/// A capture that an engine has begun.
struct Capturing {
    /// The capture ends with this connection.
    client: Option<Client>,
    from: Connection,
    /// Since the first packets.
    time: Option<TimeOfDay>,
    lost: u64,
    to_stdout: bool,
}

/// Captures until there are enough packets, a signal has come, or the device is gone.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut capturing = Capturing::begin(arguments)?;
    // A pipe waits for its reader here, and signals still end that.
    let (to, place) = open(&arguments.write)?;
    let termination = ended::catch()?;
    // Where processors are scarce, packets come before their records. What is not written in time counts as lost.
    let _ = process::give_way();
    let mut file = File::begin(to, place, &arguments.device, arguments.snap)?;
    complain!(
        "capturing packets of {}; what is inside the tunnel is readable in the file",
        arguments.device
    );
    let outcome = capturing.copy(&mut file, arguments.count, &termination);
    // The packets so far are worth having, whatever has happened.
    let is_gone = match outcome {
        Ok(is_gone) => is_gone,
        Err(error) if error.is::<NobodyReads>() => return Err(error),
        Err(error) => {
            file.end(capturing.lost)?;
            return Err(error);
        }
    };
    file.end(capturing.lost)?;
    let packets = file.packets();
    match capturing.lost {
        0 => complain!("{packets} packets captured, none lost"),
        lost => complain!(
            "{packets} packets captured, {lost} lost: they came faster than they were written; --peer, --drops or a smaller \
             --snap make fewer"
        ),
    }
    if is_gone {
        bail!("{} or its engine is gone", arguments.device);
    }
    Ok(())
}

impl Capturing {
    fn begin(arguments: &Arguments) -> Result<Self> {
        let device = &arguments.device;
        let found = engines::with_device(device, &arguments.engine)?;
        let Driver::Engine(mut client) = found.driver else {
            bail!(
                "{device} is a device of the kernel's own driver, whose drops only the kernel sees: capture what is inside \
                 with `tcpdump -i {device}`"
            );
        };
        let (from, to) = Connection::pair().context("cannot make a pair of sockets")?;
        // What the engine passes on at a time. If the system's limit is lower, more is lost.
        let _ = to.set_send_buffer(SOCKET);
        let request = ToEngine::Capture {
            ifindex: found.ifindex,
            peer: arguments.peer,
            wanted: arguments.wanted(),
            snap: arguments.snap,
        };
        match client.request(&request, &[to.as_fd()])? {
            ToClient::Done { errno: 0, .. } => {}
            ToClient::Done { errno, .. } => bail!("{device}: {}", why(errno)),
            _ => bail!("unexpected reply from the engine (version mismatch?)"),
        }
        if let Some(peer) = arguments.peer
            && !state::peers_of(&mut client, found.ifindex)?
                .iter()
                .any(|it| it.id == peer)
        {
            complain!("{device} has no peer {peer} at the moment: waiting for one with this id");
        }
        Ok(Self {
            client: Some(client),
            from,
            time: None,
            lost: 0,
            to_stdout: arguments.write == Path::new("-"),
        })
    }

    /// Copies packets into the file, up to `count`. Returns whether the device is gone.
    fn copy(
        &mut self,
        file: &mut File<impl Write>,
        count: Option<u64>,
        termination: &Termination,
    ) -> Result<bool> {
        let mut pending = Pending::new();
        let count = count.unwrap_or(u64::MAX);
        while file.packets() < count {
            match self.from.receive(pending.room()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    pending.write(file, count, self.time)?;
                    // A reader behind a pipe sees what there is.
                    file.flush()?;
                    if self.client.is_none() {
                        return Ok(false);
                    }
                    if self.to_stdout && output::is_abandoned() {
                        return Err(NobodyReads.into());
                    }
                    if file.packets() < count {
                        wait(&[self.from.as_fd(), termination.as_fd()], Some(LOOK))?;
                    }
                    self.end_at(termination);
                }
                Ok(received) if received.len > 0 => {
                    let batch = match pending.add(received.len) {
                        Ok(batch) => batch,
                        Err(error) => {
                            pending.write(file, count, self.time)?;
                            return Err(error);
                        }
                    };
                    self.lost = batch.lost;
                    self.time
                        .get_or_insert_with(|| TimeOfDay::begin(batch.now))
                        .follow();
                    if pending.is_ample() {
                        pending.write(file, count, self.time)?;
                        // Packets may come faster than they are written: then no wait sees the signal.
                        self.end_at(termination);
                    }
                }
                Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                    return Err(error.into());
                }
                // The end.
                _ => {
                    pending.write(file, count, self.time)?;
                    return Ok(self.client.is_some() && file.packets() < count);
                }
            }
        }
        Ok(false)
    }

    /// Ends the capture if a signal has come. What the engine has passed on by then is still read.
    fn end_at(&mut self, termination: &Termination) {
        if termination.received().is_some() {
            self.client = None;
        }
    }
}

impl Arguments {
    fn wanted(&self) -> Wanted {
        let is_all = !(self.inner || self.outer || self.drops);
        Wanted {
            inner: is_all || self.inner,
            outer: is_all || self.outer,
            drops: is_all || self.drops,
        }
    }
}

/// Why an engine refuses a capture.
fn why(errno: i32) -> String {
    match Errno::from_raw_os_error(errno) {
        Errno::PERM => {
            "another user has created it: only that user and root may capture its packets"
                .to_owned()
        }
        Errno::BUSY => {
            "its packets are being captured already: end the other `udco capture` first".to_owned()
        }
        Errno::DQUOT => {
            "this user has as many captures as it may have at a time: end one of them".to_owned()
        }
        Errno::NODEV => "it is gone".to_owned(),
        _ => refusal::of_engine(errno),
    }
}

fn unreadable(_: Malformed) -> anyhow::Error {
    anyhow::anyhow!("unexpected packets from the engine (version mismatch?)")
}

/// The file, for its owner alone if it is new, and its name for messages; standard output for "-".
fn open(path: &Path) -> Result<(Box<dyn Write>, String)> {
    if path == Path::new("-") {
        if io::stdout().is_terminal() {
            bail!(
                "standard output is a terminal: name a file, or a program behind a pipe (`| tshark -i -`)"
            );
        }
        let stdout = BufWriter::new(io::stdout().lock());
        return Ok((Box::new(stdout), "to standard output".into()));
    }
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path);
    let file = file.map_err(|error| unwritable(path, error))?;
    let name = path.display().to_string();
    Ok((Box::new(BufWriter::new(file)), name))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn all_is_captured_unless_something_is_chosen() {
        let wanted = |words: &[&str]| {
            let line = ["capture", "tun0", "-w", "-"].iter().chain(words);
            let Wanted {
                inner,
                outer,
                drops,
            } = Line::parse_from(line).arguments.wanted();
            [inner, outer, drops]
        };
        assert_eq!(wanted(&[]), [true, true, true]);
        assert_eq!(wanted(&["--drops"]), [false, false, true]);
        assert_eq!(wanted(&["--inner", "--drops"]), [true, false, true]);
        assert!(
            Line::try_parse_from(["capture", "tun0"]).is_err(),
            "no file"
        );
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (errno, words) in [
            (Errno::PERM, "only that user and root"),
            (Errno::BUSY, "end the other"),
            (Errno::DQUOT, "end one of them"),
            (Errno::INVAL, "Invalid argument"),
        ] {
            let why = why(errno.raw_os_error());
            assert!(why.contains(words), "{why}");
        }
    }
}
