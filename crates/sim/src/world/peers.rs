//! What OpenVPN does in a run: peers, and keys that both ends have agreed on.

use udco_core::Keepalive;

use super::{Link, World};
use crate::Failure;
use crate::keys::Secret;
use crate::node::SERVER;

use crate::tcp::Stream;

impl World {
    /// Makes a client a peer of the server, over UDP, and returns the key that both have.
    ///
    /// # Errors
    /// Of the engine.
    pub fn connect(&mut self, client: usize, keepalive: Keepalive) -> Result<Secret, Failure> {
        let now = self.moment();
        for pair in [(SERVER, client), (client, SERVER)] {
            self.nodes[pair.0].add_peer(pair, keepalive, now)?;
        }
        self.agree(client)
    }

    /// The same over TCP, by sockets with buffers of `room` bytes.
    ///
    /// # Errors
    /// Of the engine.
    pub fn connect_stream(
        &mut self,
        client: usize,
        room: usize,
        keepalive: Keepalive,
    ) -> Result<Secret, Failure> {
        let (near, far) = Stream::pair(room);
        let now = self.moment();
        let server = &mut self.nodes[SERVER];
        server.add_stream_peer((SERVER, client), near.clone(), keepalive, now)?;
        self.nodes[client].add_stream_peer((client, SERVER), far.clone(), keepalive, now)?;
        self.links.push(Link {
            ends: [(SERVER, near), (client, far)],
            most: 20_000,
            stalled_until: 0,
            is_pumped: [false; 2],
        });
        self.agree(client)
    }

    fn agree(&mut self, client: usize) -> Result<Secret, Failure> {
        let id = self.rng.within(0, 7) as u8;
        let secret = Secret::new(id, &mut self.rng);
        self.nodes[SERVER].install((SERVER, client), &secret)?;
        self.nodes[client].install((client, SERVER), &secret)?;
        Ok(secret)
    }
}
