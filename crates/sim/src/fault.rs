//! Bugs on purpose, between the engine and its host: the simulation has to find them.

use crate::rng::Rng;

/// A bug.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// None.
    #[default]
    None,
    /// Some packets are delivered twice.
    DeliversTwice,
    /// Some packets vanish and are not counted.
    LosesSilently,
    /// Some packets are changed.
    ChangesBytes,
    /// The receiver gets its key again in the middle, and with it a replay window that has seen nothing.
    ForgetsReplays,
}

impl Fault {
    /// What the host gets of a packet that the engine has delivered.
    pub(crate) fn on_delivery(self, mut packet: Vec<u8>, rng: &mut Rng) -> Vec<Vec<u8>> {
        if matches!(self, Self::None | Self::ForgetsReplays) || !rng.chance(50) {
            return vec![packet];
        }
        match self {
            Self::DeliversTwice => vec![packet.clone(), packet],
            Self::LosesSilently => Vec::new(),
            _ => {
                if let Some(last) = packet.last_mut() {
                    *last ^= 1;
                }
                vec![packet]
            }
        }
    }
}
