//! ICMP "too big" from an attacker that is not one of our routers (promises A9): a forgery about another packet changes
//! nothing, and one that seems to be about the tunnel's makes packets smaller for a while, within limits. Nothing is
//! lost.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{Endpoint, Host, Pair, Proto, addresses as at, connect, eventually, skip_part};

const LAB_END: &str = env!("CARGO_BIN_EXE_udco-lab-end");

/// The kernel's notifications arrive within a second; changes learnt from, or forgotten after, ICMP within ten.
const SOON: Duration = Duration::from_secs(25);

/// After this time the engine has queried all paths again.
const ROUND: Duration = Duration::from_secs(12);

/// The path MTU without forgeries.
const WIDE: u16 = 1500;

#[test]
fn forged_too_big_udp4() -> Result<()> {
    // A host must accept packets of 576 bytes: smaller MTUs are not believed.
    does_no_harm(Proto::Udp4, 68, 576)
}

#[test]
fn forged_too_big_udp6() -> Result<()> {
    does_no_harm(Proto::Udp6, 1280, 1280)
}

/// A forgery that claims `mtu` lowers the path MTU to no less than `least`.
fn does_no_harm(proto: Proto, mtu: u16, least: u16) -> Result<()> {
    let pair = Pair::new()?;
    let stranger = Stranger::new(&pair, proto)?;
    let forgets = forgets_soon(&pair.server, proto);
    let server = pair.udco_server(proto);
    let (server, _client) = connect(server, pair.udco_client(proto))?;
    if !server.is_udco() {
        return Ok(());
    }
    path_becomes(&server, WIDE)?;
    let peer = remote(&server)?;
    let own = format!("{}:1194", stranger.inside);

    // A socket that does not exist; an address that is not a peer's; from the peer's end.
    stranger.claims(mtu, &format!("{}:9", stranger.inside), &peer)?;
    stranger.claims(mtu, &own, &format!("{}:1194", stranger.unassigned))?;
    stranger.claims(mtu, &peer, &own)?;
    thread::sleep(ROUND);
    let mtu_now = path_mtu(&server)?;
    ensure!(mtu_now == Some(WIDE), "believed: {mtu_now:?}");

    // About a packet of the tunnel, as far as the kernel can check.
    stranger.claims(mtu, &own, &peer)?;
    look_again(&pair.server, "198.18.0.1/32")?;
    path_becomes(&server, least)?;
    for (host, to) in [
        (&pair.server, at::INNER_CLIENT),
        (&pair.client, at::INNER_SERVER),
    ] {
        let echo = Ping::to(to).count(20).size(3000).run(host)?;
        ensure!(echo.lost.is_empty(), "{:?} of 20 long pings", echo.lost);
    }
    let stream = Stream::to(at::INNER_SERVER).reverse();
    let sent = stream.run(&pair.client, &pair.server)?;
    ensure!(sent.bits_per_second > 1e6, "{sent:?}");
    server.require_authentic()?;

    if forgets {
        path_becomes(&server, WIDE).context("after what was claimed is forgotten")?;
    } else {
        skip_part("when the kernel forgets a path MTU cannot be set here");
    }
    Ok(())
}

/// An attacker on another link of the server's.
struct Stranger {
    host: Host,
    /// The server's address on that link, and the one that its clients use.
    target: &'static str,
    inside: &'static str,
    /// An unassigned address of the clients' network.
    unassigned: &'static str,
}

impl Stranger {
    fn new(pair: &Pair, proto: Proto) -> Result<Self> {
        let host = pair.lab.host("stranger")?;
        let addresses = (
            ["203.0.113.2/24", "2001:db8:3::2/64"],
            ["203.0.113.1/24", "2001:db8:3::1/64"],
        );
        pair.lab
            .link(&host, &addresses.0, &pair.server, &addresses.1)?;
        let [target, inside, unassigned] = match proto {
            Proto::Udp6 => ["2001:db8:3::1", "[2001:db8::1]", "[2001:db8::99]"],
            _ => ["203.0.113.1", at::SERVER, "192.0.2.99"],
        };
        // An IPv6 address is usable only once duplicate address detection has passed.
        Ping::to(target).answered_within(SOON, &host)?;
        Ok(Self {
            host,
            target,
            inside,
            unassigned,
        })
    }

    /// Claims to the server that a packet between these ends was too big.
    fn claims(&self, mtu: u16, from: &str, to: &str) -> Result<()> {
        let mtu = mtu.to_string();
        let words = [
            LAB_END,
            "lab-end",
            "icmp-forger",
            self.target,
            &mtu,
            from,
            to,
        ];
        self.host.run(&words).map(drop)
    }
}

/// Makes a host's kernel forget path MTUs after 5 seconds, if that can be set.
fn forgets_soon(host: &Host, proto: Proto) -> bool {
    let family = match proto {
        Proto::Udp6 => "ipv6",
        _ => "ipv4",
    };
    let script = format!("echo 5 >/proc/sys/net/{family}/route/mtu_expires");
    host.run(&["sh", "-c", &script]).is_ok()
}

/// A new address makes the engine query all paths again.
fn look_again(host: &Host, address: &str) -> Result<()> {
    host.add_address("lo", address)
}

fn path_mtu(endpoint: &Endpoint) -> Result<Option<u16>> {
    let shown = endpoint.show()?;
    Ok(shown.peers().next().context("no peer")?.path_mtu)
}

fn path_becomes(endpoint: &Endpoint, mtu: u16) -> Result<()> {
    let mut last = None;
    let became = eventually("the path MTU", SOON, || {
        last = path_mtu(endpoint)?;
        Ok((last == Some(mtu)).then_some(()))
    });
    became.with_context(|| format!("{mtu} wanted, {last:?} shown"))
}

/// Address and port of the only peer.
fn remote(endpoint: &Endpoint) -> Result<String> {
    let shown = endpoint.show()?;
    let peer = shown.peers().next().context("no peer")?;
    let remote = peer.remote.context("no address")?;
    Ok(remote.to_string())
}
