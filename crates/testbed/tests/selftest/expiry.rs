//! Silent peers expire in time (dco-behaviour 5.8).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use udco_testbed::eventually;

use super::bench::{Bench, SOON};
use super::monitor::deleted;

/// Keepalive interval and timeout, in seconds.
const TIMEOUT: u64 = 3;

/// The engine counts whole seconds.
const GRANULARITY: u64 = 1;

/// Additional time on a busy machine.
const SLACK: Duration = Duration::from_secs(1);

/// A peer whose end is due.
struct Awaited {
    number: u32,
    at_server: bool,
    event: String,
    before: Instant,
    after: Instant,
}

/// Step 14: clients send nothing on their own any more; the server expires each, `TIMEOUT` after it was set.
pub(crate) fn expire_at_server(bench: &mut Bench, numbers: &[u32]) -> Result<()> {
    for &number in numbers {
        let client = bench.client(number)?;
        let words = format!("peer set tun0 --id {} --keepalive 0:0", client.id);
        bench.udco(&client.host, &words)?;
    }
    expire(bench, numbers, true)?;
    ensure!(bench.peers.wait(SOON)?.success(), "{}", bench.peers.log());
    Ok(())
}

/// Step 15: the same at the clients.
pub(crate) fn expire_at_clients(bench: &mut Bench, numbers: &[u32]) -> Result<()> {
    expire(bench, numbers, false)?;
    for client in &mut bench.clients {
        let status = client.peer.wait(SOON)?;
        ensure!(status.success(), "{}", client.peer.log());
    }
    Ok(())
}

fn expire(bench: &Bench, numbers: &[u32], at_server: bool) -> Result<()> {
    let mut awaited = Vec::new();
    for &number in numbers {
        let client = bench.client(number)?;
        let [server, at_client] = bench.ends(client);
        let (host, id) = if at_server { server } else { at_client };
        let before = Instant::now();
        let words = format!("peer set tun0 --id {id} --keepalive {TIMEOUT}:{TIMEOUT}");
        bench.udco(host, &words)?;
        awaited.push(Awaited {
            number,
            at_server,
            event: deleted(id, "expired"),
            before,
            after: Instant::now(),
        });
    }
    eventually("peers to expire", SOON, || {
        for it in std::mem::take(&mut awaited) {
            if !it.look(bench)? {
                awaited.push(it);
            }
        }
        Ok(awaited.is_empty().then_some(()))
    })
}

impl Awaited {
    /// Whether the event was reported, and if so, in time.
    fn look(&self, bench: &Bench) -> Result<bool> {
        let monitor = match self.at_server {
            true => &bench.monitor,
            false => &bench.client(self.number)?.monitor,
        };
        if !monitor.events()?.contains(&self.event) {
            return Ok(false);
        }
        // The event came at some moment between the two.
        let (most, least) = (self.before.elapsed(), self.after.elapsed());
        let timeout = Duration::from_secs(TIMEOUT);
        let latest = timeout + Duration::from_secs(GRANULARITY) + SLACK;
        ensure!(
            most >= timeout && least <= latest,
            "`{}` after {least:?} to {most:?}",
            self.event
        );
        Ok(true)
    }
}
