//! How packets move: the workers, and a packet's way out and in.

pub(crate) mod coalesce;
pub(crate) mod deliver;
pub(crate) mod early_data;
pub(crate) mod load;
pub(crate) mod placement;
pub(crate) mod receive;
pub(crate) mod transmit;
pub(crate) mod worker;
