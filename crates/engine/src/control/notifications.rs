//! Delivery of notifications: the channels that have joined a group.

use std::sync::{Arc, Mutex, Weak};

use udco_netlink::{Api, Notification};

use crate::control::channel::Channel;
use crate::device::notify::{Audience, Notify};
use crate::sync::lock;

/// The channels of all clients that want notifications.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<Vec<Weak<Channel>>>);

impl Listeners {
    /// Adds a channel, once.
    pub(crate) fn add(&self, channel: &Arc<Channel>) {
        let mut all = lock(&self.0);
        all.retain(|listener| {
            listener.strong_count() > 0 && listener.as_ptr() != Arc::as_ptr(channel)
        });
        all.push(Arc::downgrade(channel));
    }
}

impl Notify for Listeners {
    /// Reaches the channels in the audience's namespace whose users may use the device. Where the kernel does not
    /// number namespaces, only the client that uses it.
    fn notify(&self, audience: Audience, api: Api, notification: &Notification) {
        for listener in lock(&self.0).iter().filter_map(Weak::upgrade) {
            let is_user = listener.client == audience.owner;
            let may_know = is_user || listener.uid == audience.uid || listener.uid == 0;
            let is_there = match is_user {
                true => listener.netns.may_be(audience.netns),
                false => listener.netns.is(audience.netns),
            };
            if is_there && may_know {
                listener.notify(api, notification);
            }
        }
    }
}
