//! The relay's streams, which it cuts into other pieces, stalls and resets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::net::sockopt;

use crate::chaos::{Segments, Weather};
use crate::dice::Dice;

/// A relay between clients and one server, each connection in threads of its own until the process ends.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Mutex<Shared>>);

struct Shared {
    weather: Weather,
    counters: Segments,
}

impl Streams {
    /// Accepts connections and relays to `server`.
    pub(crate) fn start(listener: TcpListener, server: SocketAddr, seed: u64) -> Self {
        let streams = Self(Arc::new(Mutex::new(Shared {
            weather: Weather::CALM,
            counters: Segments::default(),
        })));
        let serving = streams.clone();
        thread::spawn(move || {
            for (number, client) in (4..).step_by(2).zip(listener.incoming().flatten()) {
                serving.shared().counters.connections += 1;
                let serving = serving.clone();
                // Without a server the client finds its connection closed.
                thread::spawn(move || serving.join(&client, server, seed, number));
            }
        });
        streams
    }

    /// Changes the weather from now on.
    pub(crate) fn set_weather(&self, weather: Weather) {
        self.shared().weather = weather;
    }

    /// The counters so far.
    pub(crate) fn counters(&self) -> Segments {
        self.shared().counters
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, client: &TcpStream, server: SocketAddr, seed: u64, number: u64) -> Result<()> {
        let server = TcpStream::connect(server)?;
        for end in [client, &server] {
            end.set_nodelay(true)?;
        }
        let ends = (client.try_clone()?, server.try_clone()?);
        let (streams, dice) = (self.clone(), Dice::new(seed, number));
        let is_reset = Arc::new(AtomicBool::new(false));
        let also = Arc::clone(&is_reset);
        thread::spawn(move || streams.relay(&ends.0, &ends.1, dice, &also));
        self.relay(&server, client, Dice::new(seed, number + 1), &is_reset);
        Ok(())
    }

    /// Relays bytes until one end closes; then closes both.
    fn relay(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        mut dice: Dice,
        is_reset: &AtomicBool,
    ) {
        let mut buffer = vec![0; 65_536];
        'open: while let Ok(length) = from.read(&mut buffer) {
            let mut left = &buffer[..length];
            if left.is_empty() {
                break;
            }
            while !left.is_empty() {
                let weather = self.weather_after_cut();
                if dice.hits(weather.reset) {
                    self.shared().counters.resets += 1;
                    for end in [from, to] {
                        // The last close then sends RST, whatever the buffers hold.
                        let _ = sockopt::set_socket_linger(end, Some(Duration::ZERO));
                    }
                    is_reset.store(true, Ordering::Release);
                    break 'open;
                }
                if dice.hits(weather.stall) {
                    self.shared().counters.stalls += 1;
                    thread::sleep(Duration::from_millis(weather.stall_ms));
                }
                let longest = match weather.segment {
                    0 => left.len(),
                    segment => segment.min(left.len()),
                };
                let cut = 1 + dice.up_to(longest as u64 - 1) as usize;
                let cut = if weather.segment == 0 {
                    left.len()
                } else {
                    cut
                };
                let (piece, rest) = left.split_at(cut);
                if to.write_all(piece).is_err() {
                    break 'open;
                }
                left = rest;
                let counters = &mut self.shared().counters;
                counters.writes += 1;
                counters.bytes += cut as u64;
            }
        }
        // Shutting down the sending side would be an orderly end.
        let how = if is_reset.load(Ordering::Acquire) {
            Shutdown::Read
        } else {
            Shutdown::Both
        };
        for end in [from, to] {
            let _ = end.shutdown(how);
        }
    }

    /// The weather, once the link is no longer cut.
    fn weather_after_cut(&self) -> Weather {
        loop {
            let weather = self.shared().weather;
            if !weather.cut {
                return weather;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests;
