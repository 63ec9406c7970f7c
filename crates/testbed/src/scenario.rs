//! Two topologies that the scenarios share: a server with one client, and a server with several.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::Host;
use crate::lab::{Lab, Link};
use crate::openvpn::{Builder, Endpoint, Launch, Proto};
use crate::pki::{Credentials, Pki};

/// How long a connection may take to come up; on an idle machine it takes about 2 s.
pub const CONNECT: Duration = Duration::from_secs(20);

/// What a server says of a client once it has keys for its packets: on a busy machine, a second after the client.
const KEYED: &str = "Data Channel: cipher";

/// Starts a server, then a client, and waits until both are up with their keys, and every udco end is offloaded.
///
/// # Errors
/// Reports which end did not come up.
pub fn connect(server: Builder, client: Builder) -> Result<(Endpoint, Endpoint)> {
    let mut server = server.spawn()?;
    server.wait_connected(CONNECT).context("server")?;
    let mut client = client.spawn()?;
    client.wait_connected(CONNECT).context("client")?;
    server.wait_for_log(KEYED, CONNECT).context("server")?;
    server.require_offload().context("server")?;
    client.require_offload().context("client")?;
    Ok((server, client))
}

/// Addresses of a [`Pair`].
pub mod addresses {
    /// Server, outside.
    pub const SERVER: &str = "192.0.2.1";
    /// Server, outside, IPv6.
    pub const SERVER6: &str = "2001:db8::1";
    /// Client, outside.
    pub const CLIENT: &str = "192.0.2.2";
    /// Client, outside, IPv6.
    pub const CLIENT6: &str = "2001:db8::2";
    /// Server, in the tunnel.
    pub const INNER_SERVER: &str = "10.8.0.1";
    /// Server, in the tunnel, IPv6.
    pub const INNER_SERVER6: &str = "fd00:8::1";
    /// First client, in the tunnel.
    pub const INNER_CLIENT: &str = "10.8.0.2";
    /// First client, in the tunnel, IPv6.
    pub const INNER_CLIENT6: &str = "fd00:8::1000";
}

/// A variant of a tunnel, as options of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Variant {
    /// Take a tunnel over TCP.
    #[arg(long)]
    pub tcp: bool,
    /// Take IPv6, outside the tunnel and inside.
    #[arg(long)]
    pub ipv6: bool,
}

impl Variant {
    /// It as options again.
    pub(crate) fn words(self) -> Vec<&'static str> {
        let words = [(self.tcp, "--tcp"), (self.ipv6, "--ipv6")].into_iter();
        words
            .filter_map(|(is_set, word)| is_set.then_some(word))
            .collect()
    }

    /// Its transport.
    pub const fn proto(self) -> Proto {
        match (self.tcp, self.ipv6) {
            (false, false) => Proto::Udp4,
            (false, true) => Proto::Udp6,
            (true, false) => Proto::Tcp4,
            (true, true) => Proto::Tcp6,
        }
    }

    /// The server's address, in the tunnel.
    pub const fn inner_server(self) -> &'static str {
        match self.ipv6 {
            false => addresses::INNER_SERVER,
            true => addresses::INNER_SERVER6,
        }
    }
}

/// A server and a client on one link.
#[derive(Debug)]
pub struct Pair {
    /// The lab.
    pub lab: Lab,
    /// The server's host.
    pub server: Host,
    /// The client's host.
    pub client: Host,
    /// Device `a` is the server's, `b` the client's.
    pub link: Link,
    server_credentials: Credentials,
    client_credentials: Credentials,
}

impl Pair {
    /// Hosts, link and certificates; no OpenVPN yet.
    ///
    /// # Errors
    /// If the lab cannot be created.
    pub fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let server = lab.host("server")?;
        let client = lab.host("client")?;
        let prefixed = |v4: &str, v6: &str| [format!("{v4}/24"), format!("{v6}/64")];
        let at_server = prefixed(addresses::SERVER, addresses::SERVER6);
        let at_client = prefixed(addresses::CLIENT, addresses::CLIENT6);
        let link = lab.link(
            &server,
            &at_server.each_ref().map(String::as_str),
            &client,
            &at_client.each_ref().map(String::as_str),
        )?;
        let pki = Pki::new(lab.directory())?;
        Ok(Self {
            server_credentials: pki.server("server")?,
            client_credentials: pki.client("client")?,
            lab,
            server,
            client,
            link,
        })
    }

    /// The server, to be configured further.
    pub fn server(&self, proto: Proto) -> Builder {
        Builder::server(&self.server, &self.server_credentials).proto(proto)
    }

    /// The client, to be configured further.
    pub fn client(&self, proto: Proto) -> Builder {
        let remote = match proto {
            Proto::Udp4 | Proto::Tcp4 => addresses::SERVER,
            Proto::Udp6 | Proto::Tcp6 => addresses::SERVER6,
        };
        Builder::client(&self.client, &self.client_credentials, remote).proto(proto)
    }

    /// The server with udco, to be configured further.
    pub fn udco_server(&self, proto: Proto) -> Builder {
        self.server(proto).launch(Launch::Udco)
    }

    /// A server that is up, keeps clients that were killed, and gives each start of a client another address.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn patient_server(&self) -> Result<Endpoint> {
        let server = self.server(Proto::Udp4).line("duplicate-cn");
        let mut server = server.keepalive(10, 600).spawn()?;
        server.wait_connected(CONNECT)?;
        Ok(server)
    }

    /// The client with udco, to be configured further.
    pub fn udco_client(&self, proto: Proto) -> Builder {
        self.client(proto).launch(Launch::Udco)
    }

    /// Certificate authority, certificate and key of the client.
    pub(crate) fn client_files(&self) -> [String; 3] {
        let Credentials {
            authority,
            certificate,
            key,
            ..
        } = &self.client_credentials;
        [authority, certificate, key].map(|path| path.display().to_string())
    }
}

/// A server with several clients, each on a link of its own: the server is 198.18.`i`.1, the client 198.18.`i`.2.
#[derive(Debug)]
pub struct Star {
    /// The lab.
    pub lab: Lab,
    /// The server's host; it forwards packets.
    pub server: Host,
    /// The clients' hosts, `client1` first.
    pub clients: Vec<Host>,
    server_credentials: Credentials,
    client_credentials: Vec<Credentials>,
}

impl Star {
    /// Hosts, links and certificates for `count` clients; no OpenVPN yet.
    ///
    /// # Errors
    /// If the lab cannot be created.
    pub fn new(count: usize) -> Result<Self> {
        let lab = Lab::new()?;
        let server = lab.host("server")?;
        server.forward()?;
        let pki = Pki::new(lab.directory())?;
        let mut star = Self {
            server_credentials: pki.server("server")?,
            lab,
            server,
            clients: Vec::new(),
            client_credentials: Vec::new(),
        };
        for index in 0..count {
            let name = format!("client{}", index + 1);
            let client = star.lab.host(&name)?;
            let [near, far] = [1, 2].map(|host| format!("198.18.{index}.{host}/24"));
            star.lab.link(&star.server, &[&near], &client, &[&far])?;
            star.clients.push(client);
            star.client_credentials.push(pki.client(&name)?);
        }
        Ok(star)
    }

    /// The server, to be configured further.
    pub fn server(&self) -> Builder {
        Builder::server(&self.server, &self.server_credentials)
    }

    /// Client number `index` (from 0), to be configured further.
    ///
    /// # Panics
    /// If there is no such client.
    pub fn client(&self, index: usize) -> Builder {
        let remote = format!("198.18.{index}.1");
        Builder::client(
            &self.clients[index],
            &self.client_credentials[index],
            &remote,
        )
    }
}
