//! Links, routes and settings of this network namespace.

use udco_netlink::route::Preference;

/// Links, routes and settings of this network namespace.
#[derive(Clone, Debug, Default)]
pub(in crate::doctor) struct Network {
    pub(in crate::doctor) links: Vec<Link>,
    /// IPv4 default routes.
    pub(in crate::doctor) defaults: Vec<DefaultRoute>,
    /// Those of IPv6, one for each next hop.
    pub(in crate::doctor) defaults6: Vec<DefaultRoute>,
    /// `net.ipv4.ip_forward`; `None` if unknown.
    pub(in crate::doctor) forwards4: Option<bool>,
    /// `net.ipv6.conf.all.forwarding`.
    pub(in crate::doctor) forwards6: Option<bool>,
    /// Interfaces whose reverse-path filter is strict.
    pub(in crate::doctor) strict: Vec<String>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Link {
    pub(in crate::doctor) name: String,
    pub(in crate::doctor) serves: Serves,
}

/// What serves an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Serves {
    /// An engine.
    Engine,
    /// An engine that does not answer this user.
    Silent,
    /// Nothing, or an engine that does not answer and has no peer on it: either has no carrier.
    Unsure,
    /// An engine that has been killed, or its OpenVPN.
    Nothing,
    /// The kernel's own driver.
    Driver,
    /// Something that has nothing to do with offload.
    Other,
}

/// A default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct DefaultRoute {
    pub(in crate::doctor) device: String,
    pub(in crate::doctor) metric: u32,
    /// Of an IPv6 route: which counts among those of one metric.
    pub(in crate::doctor) preference: Option<Preference>,
}
