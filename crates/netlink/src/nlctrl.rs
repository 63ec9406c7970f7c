//! The family `nlctrl`: by it, programs find the others, and ask for their schemas (dco-behaviour
//! 2.1).

mod policy;

use crate::answer::{self, Answers};
use crate::message::{FLAG_ACK, FLAG_MULTI, Request};
use crate::rejection::{Extack, Rejection};
use crate::requester::Requester;
use crate::schema::{Command, Family, Kind, Policy};
use crate::tlv::Members;
use crate::validate::{self, Strictness};
use crate::{Errno, FamilyIds, dco_v2, message, ovpn};

/// Command numbers.
mod command {
    pub(super) const NEWFAMILY: u8 = 1;
    pub(super) const GETFAMILY: u8 = 3;
    pub(super) const GETPOLICY: u8 = 10;
}

/// Attributes.
mod top {
    pub(super) const FAMILY_ID: u16 = 1;
    pub(super) const FAMILY_NAME: u16 = 2;
    pub(super) const VERSION: u16 = 3;
    pub(super) const HEADER_SIZE: u16 = 4;
    pub(super) const MAX_ATTRIBUTE: u16 = 5;
    pub(super) const COMMANDS: u16 = 6;
    pub(super) const GROUPS: u16 = 7;
    pub(super) const POLICY: u16 = 8;
    pub(super) const COMMAND_POLICY: u16 = 9;
    pub(super) const COMMAND: u16 = 10;
}

/// Members of a command in COMMANDS.
mod told_command {
    pub(super) const NUMBER: u16 = 1;
    pub(super) const FLAGS: u16 = 2;
}

/// Members of a group in GROUPS.
mod told_group {
    pub(super) const NAME: u16 = 1;
    pub(super) const ID: u16 = 2;
}

/// For the client side: command and attribute of [`crate::client::family_request`].
pub(crate) const GETFAMILY_NUMBER: u8 = command::GETFAMILY;
pub(crate) const FAMILY_NAME: u16 = top::FAMILY_NAME;

/// Reads a family's id and that of its first group.
pub(crate) fn read_family(members: &Members<'_>) -> Option<(u16, u32)> {
    let group = members.find(top::GROUPS)?.members().next()?;
    let group = Members::of(group.members()).find(told_group::ID)?;
    Some((members.find(top::FAMILY_ID)?.u16()?, group.u32()?))
}

/// The longest name of a family.
const NAME: Kind = Kind::NulString(15);
const ID: Kind = Kind::U16(u16::MAX);

/// The family, as it tells of itself.
pub(crate) static FAMILY: Family = Family {
    name: "nlctrl",
    version: 2,
    max_attribute: 0,
    group: "notify",
    commands: &[
        Command {
            number: command::GETFAMILY,
            plain: Some(&GETFAMILY),
            dump: Some(&GETFAMILY),
            admin: false,
        },
        Command {
            number: command::GETPOLICY,
            plain: None,
            dump: Some(&GETPOLICY),
            admin: false,
        },
    ],
};
/// Id of the group `notify`; nothing is ever told there.
const NOTIFY: u32 = 0x10;

static GETFAMILY: Policy = Policy {
    max: top::FAMILY_NAME,
    attributes: &[(top::FAMILY_ID, ID), (top::FAMILY_NAME, NAME)],
};
static GETPOLICY: Policy = Policy {
    max: top::COMMAND,
    attributes: &[
        (top::FAMILY_ID, ID),
        (top::FAMILY_NAME, NAME),
        (top::COMMAND, Kind::U32(u32::MAX)),
    ],
};

/// Does a request: unlike those of our families, with its ACK.
pub(crate) fn answer(
    families: &FamilyIds,
    requester: &Requester,
    request: &Request<'_>,
    answers: &mut Answers,
) -> Result<(), Rejection> {
    match (request.command, request.header.is_dump()) {
        (command::GETFAMILY, false) => {
            let warning = family(families, requester, request, answers)?;
            if request.header.flags & FLAG_ACK != 0 {
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
        (command::GETFAMILY, true) => {
            validate::attributes(&GETFAMILY, request.attributes(), Strictness::Strict)?;
            let all = Found::all(families);
            let messages = all.map(|family| family.encode(requester, request, FLAG_MULTI));
            answers.push_dump(requester, request, messages);
            Ok(())
        }
        (command::GETPOLICY, true) => {
            validate::attributes(&GETPOLICY, request.attributes(), Strictness::Strict)?;
            let found = Found::by(families, request)?;
            let asked = Members::of(request.attributes()).find(top::COMMAND);
            let parts = policy::parts(found.family, asked)?;
            let messages = parts
                .iter()
                .map(|part| part.encode(requester, request, found.id));
            answers.push_dump(requester, request, messages);
            Ok(())
        }
        (known, _) => {
            // Commands up to GETPOLICY are older than the rules for headers.
            if known > command::GETPOLICY {
                validate::header(request)?;
            }
            Err(Rejection::bare(Errno::EOPNOTSUPP))
        }
    }
}

/// Answers GETFAMILY, the oldest command of all: it's lax, and warns instead, whether it succeeds
/// or not.
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
    /// Those on offer.
    fn all(families: &FamilyIds) -> impl Iterator<Item = Self> {
        let list = [
            (&FAMILY, FamilyIds::NLCTRL, NOTIFY),
            (&ovpn::FAMILY, families.ovpn, families.ovpn_peers),
            (&dco_v2::FAMILY, families.dco_v2, families.dco_v2_peers),
        ];
        let all = list
            .into_iter()
            .map(|(family, id, group)| Self { family, id, group });
        all.filter(|found| found.id != 0)
    }

    /// The one that a request names. If there are both, GETFAMILY goes by the name, GETPOLICY by
    /// the id.
    fn by(families: &FamilyIds, request: &Request<'_>) -> Result<Self, Rejection> {
        let members = Members::of(request.attributes());
        let id = members.find(top::FAMILY_ID).and_then(|found| found.u16());
        let name = members
            .find(top::FAMILY_NAME)
            .and_then(|found| found.text());
        if !members.has(top::FAMILY_ID) && !members.has(top::FAMILY_NAME) {
            return Err(Rejection::bare(Errno::EINVAL));
        }
        let by_id = members.has(top::FAMILY_ID)
            && (request.command == command::GETPOLICY || !members.has(top::FAMILY_NAME));
        let wanted = |found: &Self| match by_id {
            true => Some(found.id) == id,
            false => Some(found.family.name) == name,
        };
        Self::all(families)
            .find(wanted)
            .ok_or_else(|| Rejection::bare(Errno::ENOENT))
    }

    /// NEWFAMILY; its nests don't have the mark of nests.
    fn encode(&self, requester: &Requester, request: &Request<'_>, flags: u16) -> Vec<u8> {
        message::reply(
            requester,
            request,
            FAMILY.version,
            flags,
            command::NEWFAMILY,
            |message| {
                message.string(top::FAMILY_NAME, self.family.name);
                message.u16(top::FAMILY_ID, self.id);
                message.u32(top::VERSION, self.family.version.into());
                message.u32(top::HEADER_SIZE, 0);
                message.u32(top::MAX_ATTRIBUTE, self.family.max_attribute);
                message.plain_nest(top::COMMANDS, |list| {
                    for (index, command) in (1..).zip(self.family.commands) {
                        list.plain_nest(index, |entry| {
                            entry.u32(told_command::NUMBER, command.number.into());
                            entry.u32(told_command::FLAGS, command.flags());
                        });
                    }
                });
                message.plain_nest(top::GROUPS, |list| {
                    list.plain_nest(1, |entry| {
                        entry.u32(told_group::ID, self.group);
                        entry.string(told_group::NAME, self.family.group);
                    });
                });
            },
        )
    }
}
