//! How a client makes the TUN device that an engine requests: what already has the name decides on each step. The
//! client carries out the steps ([`Kernel`]), in its network namespace and with its privileges.

use core::time::Duration;

use crate::errno::{EBUSY, EEXIST, EINVAL, ENODEV};
use crate::{Alias, Interface, MAX_FDS, qdisc};

/// Flags of every queue, for `TUNSETIFF`: `IFF_TUN`, `IFF_NO_PI` and `IFF_VNET_HDR` of `<linux/if_tun.h>`. They fix
/// the format in which the engine reads and writes packets.
pub const QUEUE_FLAGS: u16 = 0x0001 | 0x1000 | 0x4000;
/// `IFF_MULTI_QUEUE`: for a device with several queues.
const MULTI_QUEUE: u16 = 0x0100;
/// `IFF_TUN_EXCL`, for the first queue only: the name must be new.
const EXCLUSIVE: u16 = 0x8000;

/// `IFF_UP` and `IFF_MULTICAST` of `<linux/if.h>`.
const UP: u32 = 1;
const MULTICAST: u32 = 0x1000;

/// How long an engine may need to release a device whose client was just killed: this many attempts, this far apart.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(10);

/// Longest name of an interface, with its terminating zero.
const NAME_ROOM: usize = 16;

/// The device to make; see [`crate::ToClient::NeedTun`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// How many queues (`IFF_MULTI_QUEUE` if more than one). A device that is taken over keeps its original number: the
    /// engine goes by the number it receives.
    pub queues: u16,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it has the flag `IFF_MULTICAST`; `ovpn-dco` devices do, `ovpn` devices do not.
    pub multicast: bool,
    /// Whether to set it up.
    pub up: bool,
    /// The required suffix of its alias ([`Alias`]): proof that the device was made for this request.
    pub nonce: u64,
    /// Its name; `%d` stands for the first free number. `EEXIST` if it is taken, unless by a device left behind
    /// ([`Interface::Left`]).
    pub name: &'a [u8],
}

/// A device that was made or taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    pub(crate) name: Name,
    /// Interface index.
    pub ifindex: u32,
    /// The kernel's number of its network namespace; 0 if it has none.
    pub netns: u64,
    /// Whether a dead engine or client had left it behind; if so, it stays, whatever happens.
    pub was_left: bool,
}

/// The name of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; NAME_ROOM],
}

/// The attributes that make a TUN device look like one of our links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its MTU.
    pub mtu: u32,
    /// `IFF_*` to set, of those in `mask`; the others stay as they are.
    pub flags: u32,
    /// See `flags`.
    pub mask: u32,
    /// Its alias.
    pub alias: Alias,
}

/// The operations a client performs on a device. Errors are errnos.
pub trait Kernel {
    /// The index of the interface of this name.
    fn index(&mut self, name: &[u8]) -> Option<u32>;

    /// Classifies the interface with this index ([`crate::interface`]).
    ///
    /// # Errors
    /// The kernel's.
    fn interface(&mut self, ifindex: u32) -> Result<Interface, i32>;

    /// Opens one more queue of the device with this name, with these flags of `TUNSETIFF`, and keeps it. Returns the
    /// device's actual name.
    ///
    /// # Errors
    /// The kernel's.
    fn attach(&mut self, name: &[u8], flags: u16) -> Result<Name, i32>;

    /// Closes all queues.
    fn detach(&mut self);

    /// Makes the device outlive its queues.
    ///
    /// # Errors
    /// The kernel's.
    fn persist(&mut self) -> Result<(), i32>;

    /// Sets the device's attributes.
    ///
    /// # Errors
    /// The kernel's.
    fn shape(&mut self, ifindex: u32, shape: &Shape) -> Result<(), i32>;

    /// Has the kernel carry out a request of `NETLINK_ROUTE`. The device works without it, too.
    fn request(&mut self, message: &[u8]);

    /// Removes a device that could not be completed, even if others have copies of its queues. Without an index it is
    /// not persistent yet.
    fn remove(&mut self, ifindex: Option<u32>);

    /// The kernel's number of the device's network namespace; 0 if it has none.
    fn namespace(&self) -> u64;

    /// Waits.
    fn pause(&self, time: Duration);
}

/// Makes a device that survives the closing of all descriptors, so that no packet leaves in the clear once the engine
/// has died. A device of that name that a dead engine or client left behind is taken over unchanged: with its original
/// number of queues (faults A5), and with its addresses, since the kernel removes a device's routes with its last
/// address (promises I1).
///
/// # Errors
/// `EEXIST` if anything else has the name, `EINVAL` for more queues than a message can carry, else the kernel's error.
pub fn make<K: Kernel>(kernel: &mut K, wanted: &Wanted<'_>) -> Result<Made, i32> {
    if usize::from(wanted.queues) >= MAX_FDS {
        return Err(EINVAL);
    }
    let left = if wanted.name.is_empty() {
        None
    } else {
        kernel.index(wanted.name)
    };
    let name = match left {
        Some(ifindex) => take(kernel, ifindex, wanted)?,
        None => create(kernel, wanted)?,
    };
    let finished = finish(kernel, &name, wanted);
    if let Ok(ifindex) = finished
        && left.is_none()
    {
        // Its user may have given one to a device that was left behind.
        kernel.request(&qdisc::without(ifindex));
    }
    if let Err((ifindex, _)) = finished
        && left.is_none()
    {
        kernel.remove(ifindex);
    }
    Ok(Made {
        name,
        ifindex: finished.map_err(|(_, errno)| errno)?,
        netns: kernel.namespace(),
        was_left: left.is_some(),
    })
}

/// Configures the device. Returns its index, even with an error if it is known.
fn finish<K: Kernel>(
    kernel: &mut K,
    name: &Name,
    wanted: &Wanted<'_>,
) -> Result<u32, (Option<u32>, i32)> {
    kernel.persist().map_err(|errno| (None, errno))?;
    let index = kernel.index(name.as_bytes());
    let ifindex = index.ok_or((None, ENODEV))?;
    let shaped = kernel.shape(ifindex, &Shape::of(wanted));
    shaped.map(|()| ifindex).map_err(|errno| (index, errno))
}

/// The queues of a new device. If this fails, the device goes with them: it is not persistent yet.
fn create<K: Kernel>(kernel: &mut K, wanted: &Wanted<'_>) -> Result<Name, i32> {
    let flags = QUEUE_FLAGS | if wanted.queues > 1 { MULTI_QUEUE } else { 0 };
    let first = kernel.attach(wanted.name, flags | EXCLUSIVE);
    let name = first.map_err(|errno| match errno {
        // Another process made it in between.
        EBUSY => EEXIST,
        errno => errno,
    })?;
    for _ in 1..wanted.queues {
        kernel.attach(name.as_bytes(), flags)?;
    }
    Ok(name)
}

/// The queues of a device left behind: as many as are wanted, or its only one. `EEXIST` if it is not such a device, or
/// is in use; any other error ends OpenVPN, which takes `EEXIST` for success.
fn take<K: Kernel>(kernel: &mut K, ifindex: u32, wanted: &Wanted<'_>) -> Result<Name, i32> {
    for _ in 0..=TRIES {
        let taken = match kernel.interface(ifindex)? {
            Interface::Foreign => return Err(EEXIST),
            Interface::Served => Err(EBUSY),
            Interface::Left { several } => attach_all(kernel, wanted, several),
        };
        match taken {
            Ok(()) => return Ok(Name::of(wanted.name)),
            Err(EBUSY) => kernel.pause(PAUSE),
            Err(EEXIST) => return Err(EINVAL),
            Err(errno) => return Err(errno),
        }
    }
    Err(EEXIST)
}

fn attach_all<K: Kernel>(
    kernel: &mut K,
    wanted: &Wanted<'_>,
    several: Option<bool>,
) -> Result<(), i32> {
    let is_several = several.unwrap_or(wanted.queues > 1);
    let (flags, count) = if is_several {
        (QUEUE_FLAGS | MULTI_QUEUE, wanted.queues.max(1))
    } else {
        (QUEUE_FLAGS, 1)
    };
    let all = (0..count).try_for_each(|_| kernel.attach(wanted.name, flags).map(drop));
    if all.is_err() {
        kernel.detach();
    }
    match all {
        // The device was made in the other mode.
        Err(EINVAL) if several.is_none() => attach_all(kernel, wanted, Some(!is_several)),
        all => all,
    }
}

impl Made {
    /// The device's actual name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }
}

impl Name {
    /// A name, up to its first zero.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let mut bytes = [0; NAME_ROOM];
        let ends_with_zero = bytes.iter_mut().take(NAME_ROOM - 1);
        let name = name.iter().take_while(|byte| **byte != 0);
        for (to, from) in ends_with_zero.zip(name) {
            *to = *from;
        }
        Self { bytes }
    }

    fn as_bytes(&self) -> &[u8] {
        let len = self.bytes.iter().take_while(|byte| **byte != 0).count();
        self.bytes.get(..len).unwrap_or_default()
    }
}

impl Shape {
    fn of(wanted: &Wanted<'_>) -> Self {
        let up = if wanted.up { UP } else { 0 };
        let multicast = if wanted.multicast { MULTICAST } else { 0 };
        // One kind has the flag, the other does not.
        let kind = if wanted.multicast { "ovpn-dco" } else { "ovpn" };
        Self {
            mtu: wanted.mtu,
            flags: up | multicast,
            // Set up only if wanted, but never set down.
            mask: up | MULTICAST,
            alias: Alias::new(kind, wanted.nonce),
        }
    }
}

#[cfg(test)]
mod tests;
