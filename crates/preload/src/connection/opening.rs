//! How a connection is made, as the environment specifies, and what both ends say first.

use super::{Connection, Lost, Request};
use crate::calls::{self, Fd};
use crate::dispenser::{PATIENCE, above_standard, draw, inherited, reason};
use crate::environment::{unset, variable};
use crate::{files, journal, real, tun};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use core::ffi::CStr;
use libc::c_int;
use udco_ipc::client::{self, Conversation, Greeted};
use udco_ipc::{
    DataPathOptions, FD_VARIABLE, MAX_MESSAGE, MssFix, OPTIONS_VARIABLE, SOCKET_VARIABLE, ToEngine,
    message_id,
};

/// The network namespace of this process.
const NAMESPACE: &CStr = c"/proc/self/ns/net";

/// Whether the environment names an engine.
pub(crate) fn is_configured() -> bool {
    variable(FD_VARIABLE).is_some() || variable(SOCKET_VARIABLE).is_some()
}

/// Hides the engine from child processes: a daemon started by an up script has no use for it, and would keep it from
/// ending.
pub(crate) fn withdraw() {
    if let Some(dispenser) = dispenser() {
        // SAFETY: no pointers. Nobody but this library knows the number.
        unsafe { real::close(dispenser) };
    }
    unset(FD_VARIABLE);
    unset(SOCKET_VARIABLE);
    unset(OPTIONS_VARIABLE);
}

/// The inherited fd, if there is one.
pub(crate) fn dispenser() -> Option<c_int> {
    inherited(&variable(FD_VARIABLE)?).ok()
}

impl Connection {
    /// Connects as the environment specifies.
    ///
    /// # Errors
    /// The reason, for display.
    pub(crate) fn open() -> Result<Self, String> {
        let options = variable(OPTIONS_VARIABLE).unwrap_or_default();
        let options = options.to_string_lossy();
        if let Some(word) = DataPathOptions::ignored(&options) {
            let word = journal::seen(word);
            journal::say(
                message_id::OPTION_WITHOUT_EFFECT,
                &format!(
                    "udco: {OPTIONS_VARIABLE}: `{word}` is no option of udco, or has no such value: it has no effect\n"
                ),
            );
        }
        let options = DataPathOptions::parse(&options);
        tun::probe().map_err(|errno| format!("/dev/net/tun: {}", reason(errno)))?;
        match (variable(FD_VARIABLE), variable(SOCKET_VARIABLE)) {
            (Some(number), _) => Self::over(draw(inherited(&number)?)?, true, options),
            (None, Some(path)) => Self::over(dial(&path)?, false, options),
            (None, None) => Err("no engine is named".into()),
        }
    }

    /// Opens a connection for a forked child that inherited this one from its parent.
    ///
    /// # Errors
    /// The reason, for display.
    pub(crate) fn another(&self) -> Result<Self, String> {
        Self::over(draw(self.fd.raw())?, self.is_private, self.options)
    }

    fn over(fd: Fd, is_private: bool, options: DataPathOptions) -> Result<Self, String> {
        let mut connection = Self {
            fd: fd.hide(),
            is_private,
            conversation: Conversation::new(PATIENCE),
            options,
        };
        connection.greet()?;
        connection.say_where();
        connection.hand_over_options();
        connection.report_output();
        Ok(connection)
    }

    /// Reports this process's network namespace where the kernel does not (before Linux 5.14, faults B5). Without it,
    /// the engine serves this process alone.
    fn say_where(&mut self) {
        if calls::network_namespace(self.fd.raw()) != 0 {
            return;
        }
        let Ok(inode) = files::inode(NAMESPACE) else {
            return;
        };
        let place = ToEngine::Namespace { inode };
        let _ = self.request_errno(&place);
    }

    /// Passes the program's options to the engine (faults E5). If it does not answer now, the next request reports
    /// that.
    fn hand_over_options(&mut self) {
        let DataPathOptions {
            mssfix, passtos, ..
        } = self.options;
        if mssfix != MssFix::Path || passtos {
            let _ = self.request_errno(&ToEngine::Options { mssfix, passtos });
        }
    }

    fn greet(&mut self) -> Result<(), String> {
        let mut request = Request {
            connection: self,
            fds: &[],
        };
        let mut buffer = vec![0; MAX_MESSAGE];
        let program = calls::program();
        match client::greet(&mut request, calls::process(), &program, &mut buffer) {
            Ok(Greeted::Welcome) => Ok(()),
            Ok(Greeted::OtherVersion(other)) => Err(format!("{other}")),
            Err(Lost::Silent) => Err("the engine does not answer".into()),
            // It reads nothing from users who may not use it.
            Err(_) if calls::is_another_users(self.fd.raw()) => {
                Err(
                    "the engine closed the connection: you may not use it (see `udco daemon --allow-uid`), or it has just \
                     ended"
                        .into(),
                )
            }
            Err(_) => Err(
                "the engine closed the connection: it has just ended, or its log says which limit is reached".into(),
            ),
        }
    }
}

/// Connects to the socket at a path.
fn dial(path: &CStr) -> Result<Fd, String> {
    let why = |errno| format!("{}: {}", path.to_string_lossy(), reason(errno));
    let fd =
        calls::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0).map_err(|errno| match errno {
            libc::EAFNOSUPPORT => "the unit allows no AF_UNIX (RestrictAddressFamilies=)".into(),
            errno => why(errno),
        })?;
    let fd = above_standard(fd).map_err(why)?;
    // A full backlog must not block the program: with O_NONBLOCK it gives EAGAIN.
    calls::set_nonblocking(fd.raw()).map_err(why)?;
    calls::connect_unix(fd.raw(), path).map_err(why)?;
    Ok(fd)
}
