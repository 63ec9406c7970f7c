//! The family `nlctrl`, through which programs look up the other families and their policies (dco-behaviour 2.1).

mod policy;

use alloc::vec::Vec;

use crate::answer::{self, Answers};
use crate::message::{self, Request};
use crate::numbers::{
    CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_ATTR_HDRSIZE, CTRL_ATTR_MAXATTR,
    CTRL_ATTR_MCAST_GROUPS, CTRL_ATTR_MCAST_GRP_ID, CTRL_ATTR_MCAST_GRP_NAME, CTRL_ATTR_OP,
    CTRL_ATTR_OP_FLAGS, CTRL_ATTR_OP_ID, CTRL_ATTR_OPS, CTRL_ATTR_VERSION, CTRL_CMD_GETFAMILY,
    CTRL_CMD_GETPOLICY, CTRL_CMD_NEWFAMILY, GENL_ID_CTRL, NLM_F_ACK, NLM_F_MULTI,
};
use crate::rejection::{Extack, Rejection};
use crate::requester::Requester;
use crate::schema::{Command, Family, Kind, Policy};
use crate::tlv::Members;
use crate::validate::{self, Strictness};
use crate::{Errno, FamilyIds, dco_v2, ovpn};

/// The longest name of a family.
const NAME: Kind = Kind::NulString(15);
const ID: Kind = Kind::U16(u16::MAX);

/// The family, as it reports itself.
pub(crate) static FAMILY: Family = Family {
    name: "nlctrl",
    version: 2,
    max_attribute: 0,
    group: "notify",
    commands: &[
        Command {
            number: CTRL_CMD_GETFAMILY,
            plain: Some(&GETFAMILY),
            dump: Some(&GETFAMILY),
            admin: false,
        },
        Command {
            number: CTRL_CMD_GETPOLICY,
            plain: None,
            dump: Some(&GETPOLICY),
            admin: false,
        },
    ],
};
/// Id of the group `notify`, to which nothing is ever sent.
const NOTIFY: u32 = GENL_ID_CTRL as u32;

static GETFAMILY: Policy = Policy {
    max: CTRL_ATTR_FAMILY_NAME,
    attributes: &[(CTRL_ATTR_FAMILY_ID, ID), (CTRL_ATTR_FAMILY_NAME, NAME)],
};
static GETPOLICY: Policy = Policy {
    max: CTRL_ATTR_OP,
    attributes: &[
        (CTRL_ATTR_FAMILY_ID, ID),
        (CTRL_ATTR_FAMILY_NAME, NAME),
        (CTRL_ATTR_OP, Kind::U32(u32::MAX)),
    ],
};

/// Carries out a request. Unlike the handlers of our families, it also adds the ACK.
pub(crate) fn answer(
    families: &FamilyIds,
    requester: &Requester,
    request: &Request<'_>,
    answers: &mut Answers,
) -> Result<(), Rejection> {
    match (request.command, request.header.is_dump()) {
        (CTRL_CMD_GETFAMILY, false) => {
            let warning = family(families, requester, request, answers)?;
            if request.header.flags & NLM_F_ACK != 0 {
                let message = request.message;
                answers.push(answer::error_message(
                    requester,
                    message,
                    Errno(0),
                    &warning,
                ));
            }
            Ok(())
        }
        (CTRL_CMD_GETFAMILY, true) => {
            validate::attributes(&GETFAMILY, request.attributes(), Strictness::Strict)?;
            let all = Found::all(families);
            let messages = all.map(|family| family.encode(requester, request, NLM_F_MULTI));
            answers.push_dump(requester, request, messages);
            Ok(())
        }
        (CTRL_CMD_GETPOLICY, true) => {
            validate::attributes(&GETPOLICY, request.attributes(), Strictness::Strict)?;
            let found = Found::by(families, request)?;
            let command = Members::of(request.attributes()).find(CTRL_ATTR_OP);
            let parts = policy::parts(found.family, command)?;
            let messages = parts
                .iter()
                .map(|part| part.encode(requester, request, found.id));
            answers.push_dump(requester, request, messages);
            Ok(())
        }
        (known, _) => {
            // Commands up to GETPOLICY are older than the kernel's checks of headers.
            if known > CTRL_CMD_GETPOLICY {
                validate::header(request)?;
            }
            Err(Rejection::bare(Errno::EOPNOTSUPP))
        }
    }
}

/// Answers GETFAMILY. The command is older than strict validation, so it only warns, whether it succeeds or not.
fn family(
    families: &FamilyIds,
    requester: &Requester,
    request: &Request<'_>,
    answers: &mut Answers,
) -> Result<Extack, Rejection> {
    validate::attributes(&GETFAMILY, request.attributes(), Strictness::Lax)?;
    let warning = validate::warning(request.attributes());
    match Found::by(families, request) {
        Ok(found) => {
            answers.push(found.encode(requester, request, 0));
            Ok(warning)
        }
        Err(refused) => Err(Rejection::with(refused.errno, warning)),
    }
}

/// A family with its numbers.
struct Found {
    family: &'static Family,
    id: u16,
    group: u32,
}

impl Found {
    /// The families that are registered.
    fn all(families: &FamilyIds) -> impl Iterator<Item = Self> {
        let list = [
            (&FAMILY, GENL_ID_CTRL, NOTIFY),
            (&ovpn::FAMILY, families.ovpn, families.ovpn_peers),
            (&dco_v2::FAMILY, families.dco_v2, families.dco_v2_peers),
        ];
        let all = list
            .into_iter()
            .map(|(family, id, group)| Self { family, id, group });
        all.filter(|found| found.id != 0)
    }

    /// The family that a request names. If it has both name and id, GETFAMILY goes by the name, GETPOLICY by the id.
    fn by(families: &FamilyIds, request: &Request<'_>) -> Result<Self, Rejection> {
        let members = Members::of(request.attributes());
        let id = members
            .find(CTRL_ATTR_FAMILY_ID)
            .and_then(|found| found.u16());
        let name = members
            .find(CTRL_ATTR_FAMILY_NAME)
            .and_then(|found| found.text());
        if !members.has(CTRL_ATTR_FAMILY_ID) && !members.has(CTRL_ATTR_FAMILY_NAME) {
            return Err(Rejection::bare(Errno::EINVAL));
        }
        let by_id = members.has(CTRL_ATTR_FAMILY_ID)
            && (request.command == CTRL_CMD_GETPOLICY || !members.has(CTRL_ATTR_FAMILY_NAME));
        let wanted = |found: &Self| match by_id {
            true => Some(found.id) == id,
            false => Some(found.family.name) == name,
        };
        Self::all(families)
            .find(wanted)
            .ok_or_else(|| Rejection::bare(Errno::ENOENT))
    }

    /// Encodes NEWFAMILY, whose nests lack `NLA_F_NESTED`.
    fn encode(&self, requester: &Requester, request: &Request<'_>, flags: u16) -> Vec<u8> {
        message::reply(
            requester,
            request,
            FAMILY.version,
            flags,
            CTRL_CMD_NEWFAMILY,
            |message| {
                message.string(CTRL_ATTR_FAMILY_NAME, self.family.name);
                message.u16(CTRL_ATTR_FAMILY_ID, self.id);
                message.u32(CTRL_ATTR_VERSION, self.family.version.into());
                message.u32(CTRL_ATTR_HDRSIZE, 0);
                message.u32(CTRL_ATTR_MAXATTR, self.family.max_attribute);
                message.plain_nest(CTRL_ATTR_OPS, |list| {
                    for (index, command) in (1..).zip(self.family.commands) {
                        list.plain_nest(index, |entry| {
                            entry.u32(CTRL_ATTR_OP_ID, command.number.into());
                            entry.u32(CTRL_ATTR_OP_FLAGS, command.flags());
                        });
                    }
                });
                message.plain_nest(CTRL_ATTR_MCAST_GROUPS, |list| {
                    list.plain_nest(1, |entry| {
                        entry.u32(CTRL_ATTR_MCAST_GRP_ID, self.group);
                        entry.string(CTRL_ATTR_MCAST_GRP_NAME, self.family.group);
                    });
                });
            },
        )
    }
}
