//! What a client says of itself and of its OpenVPN; most of it becomes lines of the log.

use std::io;
use std::time::Instant;

use udco_ipc::{OtherVersion, ToClient, VERSION, message_id};

use crate::control::session::Session;

/// Bytes kept of the name of a client's program, which stands in log lines.
const LONGEST_NAME: usize = 64;

impl Session {
    /// A program with this pid and name speaks this version.
    pub(super) fn greet(
        &mut self,
        seq: u32,
        version: u16,
        (pid, program): (u32, &[u8]),
    ) -> io::Result<()> {
        let program = program.get(..LONGEST_NAME).unwrap_or(program);
        let called = String::from_utf8_lossy(program);
        self.name = format!("{called} ({pid})");
        self.program = called.to_string();
        if version != VERSION {
            let program = &self.name;
            let about = format!("{called} of another release");
            self.account.repeated_line(&about, Instant::now(), || {
                tracing::warn!(
                    message_id = message_id::VERSIONS_DIFFER,
                    program,
                    "{program}: {}",
                    OtherVersion::Client(version)
                );
            });
        } else {
            self.is_greeted = true;
            tracing::debug!(program = self.name, "{} connected", self.name);
        }
        self.send(seq, ToClient::Welcome { version: VERSION })
    }

    /// OpenVPN has opened its own device.
    pub(super) fn warn_of_own_tun(&self) {
        let program = &self.name;
        self.account.line(|| {
            tracing::warn!(
                message_id = message_id::OFFLOAD_INACTIVE,
                program,
                "data channel offload is NOT active: {program} opened its own TUN device (its log says why offload is off)"
            );
        });
    }

    /// OpenVPN has refused the compression that its server pushes.
    pub(super) fn warn_of_compression(&self) {
        let program = &self.name;
        self.account.line(|| {
            tracing::warn!(
                message_id = message_id::COMPRESSION_PUSHED,
                program,
                "{program}: its server pushes compression, which OpenVPN refuses with offload, so it reconnects \
                 forever: remove comp-lzo and compress from the server's configuration, or replace them with \
                 `compress migrate`, or set disable-dco on this client (pull-filter helps only if the server does \
                 not use what it pushes)"
            );
        });
    }
}
