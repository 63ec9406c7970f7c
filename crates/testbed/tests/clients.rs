//! One server, three clients: each reaches the others by the server's routes, and a network behind a client is reachable
//! (dco-behaviour 5.1).

use std::fs;

use anyhow::{Context, Result, ensure};
use udco_testbed::measure::{Ping, Stream};
use udco_testbed::{CONNECT, Endpoint, Launch, Star, Version, addresses as at};

/// In the network behind client 1.
const BEHIND: &str = "10.99.1.1";

/// A server with three connected clients: 10.8.0.101 to .103, fd00:8::101 to ::103, and 10.99.1.0/24 behind the first.
struct Office {
    star: Star,
    server: Endpoint,
    _clients: Vec<Endpoint>,
}

impl Office {
    /// The offloaded ends run OpenVPN in `version`.
    fn open(version: Version) -> Result<Self> {
        let star = Star::new(3)?;
        let per_client = star.lab.directory().join("ccd");
        fs::create_dir(&per_client)?;
        for number in 1..=3 {
            let mut lines = format!(
                "ifconfig-push 10.8.0.10{number} 255.255.255.0\nifconfig-ipv6-push fd00:8::10{number}/64\n"
            );
            if number == 1 {
                lines.push_str("iroute 10.99.1.0 255.255.255.0\n");
            }
            fs::write(per_client.join(format!("client{number}")), lines)?;
        }
        let mut server = star
            .server()
            .version(version)
            .launch(Launch::Udco)
            .line(&format!("client-config-dir {}", per_client.display()))
            .line("route 10.99.1.0 255.255.255.0")
            .spawn()?;
        server.wait_connected(CONNECT)?;
        star.clients[0].add_address("lo", &format!("{BEHIND}/24"))?;
        let mut clients = (0..3)
            .map(|index| {
                // One offloaded client among stock ones.
                let client = star.client(index);
                let client = if index == 0 {
                    client.version(version).launch(Launch::Udco)
                } else {
                    client.line("route 10.99.1.0 255.255.255.0")
                };
                client.spawn()
            })
            .collect::<Result<Vec<_>>>()?;
        for client in &mut clients {
            client.wait_connected(CONNECT)?;
        }
        server.require_offload()?;
        Ok(Self {
            star,
            server,
            _clients: clients,
        })
    }
}

#[test]
fn three_clients_reach_the_server_each_other_and_a_network_behind_one() -> Result<()> {
    all_are_reached(Version::V26)
}

#[test]
fn three_clients_of_a_2_7_server_reach_each_other_and_a_network_behind_one() -> Result<()> {
    if !Version::V27.is_here_or_skip() {
        return Ok(());
    }
    all_are_reached(Version::V27)
}

fn all_are_reached(version: Version) -> Result<()> {
    let office = Office::open(version)?;
    let hosts = &office.star.clients;
    for (index, host) in hosts.iter().enumerate() {
        Ping::to(at::INNER_SERVER).all_answered(host)?;
        Ping::to(at::INNER_SERVER6).all_answered(host)?;
        for other in (1..=3).filter(|&number| number != index + 1) {
            Ping::to(&format!("10.8.0.10{other}")).all_answered(host)?;
            Ping::to(&format!("fd00:8::10{other}")).all_answered(host)?;
        }
    }
    Ping::to(BEHIND)
        .all_answered(&office.star.server)
        .context("server to the network behind client 1")?;
    Ping::to(BEHIND)
        .all_answered(&hosts[1])
        .context("client 2 to the network behind client 1")?;
    Ping::to(at::INNER_SERVER)
        .from(BEHIND)
        .all_answered(&hosts[0])
        .context("from behind client 1")?;
    Stream::to("10.8.0.102")
        .run(&hosts[2], &hosts[1])
        .context("TCP from client 3 to client 2")?;
    office.server.require_authentic()?;
    if office.server.is_udco() {
        let shown = office.server.show()?;
        ensure!(shown.peers().count() == 3, "{shown:?}");
    }
    Ok(())
}
