//! The answer to `CTRL_CMD_GETPOLICY`: which policies the commands use, then every attribute of every policy (golden
//! `ctrl_getpolicy`).

use alloc::vec::Vec;

use super::FAMILY;
use crate::Errno;
use crate::message::{self, Request};
use crate::numbers::{
    CTRL_ATTR_FAMILY_ID, CTRL_ATTR_OP_POLICY, CTRL_ATTR_POLICY, CTRL_ATTR_POLICY_DO,
    CTRL_ATTR_POLICY_DUMP, CTRL_CMD_GETPOLICY, NLM_F_MULTI,
};
use crate::rejection::{Extack, Rejection};
use crate::requester::Requester;
use crate::schema::{Command, Family, Kind, Policy};
use crate::tlv::{Attribute, Writer};

/// The parts of the answer about a family, or about one of its commands if the request names one.
pub(super) fn parts(
    family: &'static Family,
    named: Option<Attribute<'_>>,
) -> Result<Vec<Part>, Rejection> {
    let commands = match named {
        None => family.commands,
        Some(named) => only(family, &named)?,
    };
    let mut list = PolicyList::default();
    let mut parts = Vec::new();
    for command in commands {
        parts.push(Part::Command {
            // The kernel writes 0 for a command without a plain form.
            number: command.plain.map_or(0, |_| command.number),
            plain: command.plain.map(|policy| list.add(policy)),
            dump: command.dump.map(|policy| list.add(policy)),
        });
    }
    parts.extend(list.attributes());
    Ok(parts)
}

fn only(family: &'static Family, named: &Attribute<'_>) -> Result<&'static [Command], Rejection> {
    let number = named.u32().and_then(|number| u8::try_from(number).ok());
    let listed = |command: &Command| Some(command.number) == number;
    let at = family.commands.iter().position(listed);
    let found = at.and_then(|at| family.commands.get(at..=at));
    found.ok_or_else(|| {
        let offset = Some(named.offset);
        Rejection::with(
            Errno::ENOENT,
            Extack {
                offset,
                ..Extack::default()
            },
        )
    })
}

/// One message of a GETPOLICY dump.
pub(super) enum Part {
    /// The policies of a command.
    Command {
        number: u8,
        plain: Option<u32>,
        dump: Option<u32>,
    },
    /// An attribute of a policy; `nest` is the index of the policy inside.
    Attribute {
        policy: u16,
        number: u16,
        kind: Kind,
        nest: Option<u32>,
    },
}

impl Part {
    /// Encodes the message, for the family with this id.
    pub(super) fn encode(
        &self,
        requester: &Requester,
        request: &Request<'_>,
        family: u16,
    ) -> Vec<u8> {
        let (version, command) = (FAMILY.version, CTRL_CMD_GETPOLICY);
        message::reply(
            requester,
            request,
            version,
            NLM_F_MULTI,
            command,
            |message| {
                message.u16(CTRL_ATTR_FAMILY_ID, family);
                self.write(message);
            },
        )
    }

    fn write(&self, message: &mut Writer) {
        match *self {
            Self::Command {
                number,
                plain,
                dump,
            } => message.nest(CTRL_ATTR_OP_POLICY, |list| {
                list.nest(number.into(), |entry| {
                    if let Some(index) = plain {
                        entry.u32(CTRL_ATTR_POLICY_DO, index);
                    }
                    if let Some(index) = dump {
                        entry.u32(CTRL_ATTR_POLICY_DUMP, index);
                    }
                });
            }),
            Self::Attribute {
                policy,
                number,
                kind,
                nest,
            } => message.nest(CTRL_ATTR_POLICY, |list| {
                list.nest(policy, |entry| {
                    entry.nest(number, |policy| kind.describe(policy, nest))
                });
            }),
        }
    }
}

/// The policies of a dump, each once, in the order of their indexes.
#[derive(Default)]
struct PolicyList {
    policies: Vec<&'static Policy>,
}

impl PolicyList {
    /// Index of a policy. A new one is appended, followed by those nested in it.
    fn add(&mut self, policy: &'static Policy) -> u32 {
        let index = self.index(policy);
        let mut next = usize::try_from(index).unwrap_or(usize::MAX);
        while let Some(policy) = self.policies.get(next).copied() {
            for (_, kind) in policy.attributes {
                if let Kind::Nest(inner) = kind {
                    self.index(inner);
                }
            }
            next += 1;
        }
        index
    }

    fn index(&mut self, policy: &'static Policy) -> u32 {
        let known = self
            .policies
            .iter()
            .position(|known| core::ptr::eq(*known, policy));
        let index = known.unwrap_or_else(|| {
            self.policies.push(policy);
            self.policies.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    fn attributes(mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        for (index, policy) in (0..).zip(self.policies.clone()) {
            for (number, kind) in policy
                .attributes
                .iter()
                .filter(|(_, kind)| kind.is_reported())
            {
                let nest = match kind {
                    Kind::Nest(inner) => Some(self.index(inner)),
                    _ => None,
                };
                parts.push(Part::Attribute {
                    policy: index,
                    number: *number,
                    kind: *kind,
                    nest,
                });
            }
        }
        parts
    }
}
