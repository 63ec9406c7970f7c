//! How clients change the engine's state: their connections, the API's requests, and access control.

pub(crate) mod account;
pub(crate) mod admission;
pub(crate) mod adoption;
pub(crate) mod backlog;
pub(crate) mod capture;
pub(crate) mod channel;
pub(crate) mod conversation;
pub(crate) mod dispenser;
pub(crate) mod keys;
pub(crate) mod links;
pub(crate) mod listen;
pub(crate) mod memory;
pub(crate) mod namespace;
pub(crate) mod notifications;
pub mod output;
pub(crate) mod places;
pub(crate) mod proof;
pub(crate) mod registry;
pub(crate) mod requests;
pub(crate) mod resources;
pub(crate) mod session;
pub(crate) mod show;
