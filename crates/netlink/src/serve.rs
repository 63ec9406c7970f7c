//! The driver's side: a datagram of requests in, datagrams of answers out.

use alloc::vec::Vec;

use crate::answer::{self, Answers};
use crate::message::{Header, Messages, Request};
use crate::numbers::{GENL_ID_CTRL, NLM_F_ACK, NLM_F_REQUEST, NLMSG_MIN_TYPE};
use crate::rejection::Rejection;
use crate::requester::Requester;
use crate::schema::Family;
use crate::validate::{self, Strictness};
use crate::{Api, Errno, FamilyIds, Notification, Service, dco_v2, nlctrl, ovpn};

/// Answers a datagram sent to generic Netlink, which may hold several requests.
///
/// Notifications that `service` causes must reach a requester that listens to them before `answers` do (dco-behaviour
/// 4.5). Bytes that cannot be a message are ignored, as by the kernel.
pub fn serve(
    families: &FamilyIds,
    requester: &Requester,
    datagram: &[u8],
    service: &mut dyn Service,
    answers: &mut Answers,
) {
    for message in Messages::of(datagram) {
        let Some(header) = Header::of(message) else {
            return;
        };
        let request = header.flags & NLM_F_REQUEST != 0 && header.kind >= NLMSG_MIN_TYPE;
        let outcome = match request {
            true => answer(families, requester, &header, message, service, answers),
            // Not a request to a family, but acknowledged all the same (golden `genl_header`).
            false => Ok(Acknowledge::IfRequested),
        };
        match outcome {
            Ok(Acknowledge::IfRequested) if header.flags & NLM_F_ACK != 0 => {
                answers.push(answer::acknowledgement(requester, message));
            }
            Ok(_) => {}
            Err(Rejection { errno, extack }) => {
                answers.push(answer::error_message(requester, message, errno, &extack))
            }
        }
    }
}

/// Encodes a notification; `None` if the API lacks it.
pub fn notification(
    api: Api,
    families: &FamilyIds,
    notification: &Notification,
) -> Option<Vec<u8>> {
    match api {
        Api::Ovpn => Some(ovpn::notification::encode(families.ovpn, notification)),
        Api::DcoV2 => dco_v2::notification::encode(families.dco_v2, notification),
    }
}

/// The acknowledgement of a request that succeeded.
enum Acknowledge {
    /// An ACK, if the request has the flag for it.
    IfRequested,
    /// None: it was answered in full.
    Done,
}

/// Answers one request, with the kernel's order of checks (golden `genl_header`, `unprivileged`).
fn answer(
    families: &FamilyIds,
    requester: &Requester,
    header: &Header,
    message: &[u8],
    service: &mut dyn Service,
    answers: &mut Answers,
) -> Result<Acknowledge, Rejection> {
    let api = families.api(header.kind);
    if api.is_none() && header.kind != GENL_ID_CTRL {
        return Err(Rejection::bare(Errno::ENOENT));
    }
    let request = Request::of(message).ok_or_else(|| Rejection::bare(Errno::EINVAL))?;
    let Some(api) = api else {
        nlctrl::answer(families, requester, &request, answers)?;
        return Ok(Acknowledge::Done);
    };
    let family = match api {
        Api::Ovpn => &ovpn::FAMILY,
        Api::DcoV2 => &dco_v2::FAMILY,
    };
    check(family, requester, &request)?;
    if !header.is_dump() {
        match api {
            Api::Ovpn => ovpn::plain(requester, &request, service, answers)?,
            Api::DcoV2 => dco_v2::plain(requester, &request, service, answers)?,
        }
        return Ok(Acknowledge::IfRequested);
    }
    let messages = match api {
        Api::Ovpn => ovpn::dump(requester, &request, service),
        Api::DcoV2 => dco_v2::dump(requester, &request, service),
    };
    match messages {
        Ok(messages) => answers.push_dump(requester, &request, messages.into_iter()),
        // A refusal by a dump's handler ends the dump (golden `ifindex_errors`).
        Err(Rejection { errno, extack }) => {
            answers.push(answer::done(requester, message, errno, &extack))
        }
    }
    Ok(Acknowledge::Done)
}

/// All checks before a handler runs (dco-behaviour 2.4).
fn check(family: &Family, requester: &Requester, request: &Request<'_>) -> Result<(), Rejection> {
    validate::header(request)?;
    let command = family.command(request.command);
    let policy = command.and_then(|command| match request.header.is_dump() {
        true => command.dump,
        false => command.plain,
    });
    let (Some(command), Some(policy)) = (command, policy) else {
        return Err(Rejection::bare(Errno::EOPNOTSUPP));
    };
    if command.admin && !requester.admin {
        return Err(Rejection::bare(Errno::EPERM));
    }
    validate::attributes(policy, request.attributes(), Strictness::Strict)
}
