//! NeMo (NVIDIA).

use super::{Peer, checked};
use crate::{Decay, EmaConfig, EmaError};

/// NeMo's `EMA`: a constant decay from the initial weights on, of what the optimizer trains.
///
/// With `every_n_steps` above 1 its averages are after steps 1, n + 1, 2n + 1, and ours after n, 2n, 3n.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nemo {
    /// `decay`, default 0.999, which there has no default.
    pub decay: f64,
    /// `every_n_steps`, default 1.
    pub every_n_steps: u64,
}

impl Default for Nemo {
    fn default() -> Self {
        Self {
            decay: 0.999,
            every_n_steps: 1,
        }
    }
}

impl Peer for Nemo {
    fn decay(&self) -> Result<Decay, EmaError> {
        Decay::try_constant(self.decay)
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        checked(
            EmaConfig::new()
                .with_decay(self.decay()?)
                .with_interval(self.every_n_steps),
        )
    }
}
