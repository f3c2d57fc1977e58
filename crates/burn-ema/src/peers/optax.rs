//! optax (google-deepmind).

use super::{Peer, checked};
use crate::{Decay, EmaConfig, EmaError};

/// optax's `ema(decay, debias=True)`, used on weights: the initial weights leave no trace.
///
/// Without `debias` it starts at zero and stays too small for a window's length, which no average of weights
/// should.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optax {
    /// `decay`, default 0.999, which there has no default.
    pub decay: f64,
}

impl Default for Optax {
    fn default() -> Self {
        Self { decay: 0.999 }
    }
}

impl Peer for Optax {
    fn decay(&self) -> Result<Decay, EmaError> {
        Ok(Decay::try_constant(self.decay)?.debiased())
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new().with_decay(self.decay()?))
    }
}

/// optax's `incremental_update(new, old, step_size)` at every `period`-th step: Polyak's update of target networks.
/// With a `step_size` of 1 it is `periodic_update`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptaxIncremental {
    /// `step_size`, the weight of the *new* value. Default 0.005, which there has no default.
    pub step_size: f64,
    /// Optimizer steps from one update to the next, default 1.
    pub period: u64,
}

impl Default for OptaxIncremental {
    fn default() -> Self {
        Self {
            step_size: 0.005,
            period: 1,
        }
    }
}

impl Peer for OptaxIncremental {
    fn decay(&self) -> Result<Decay, EmaError> {
        Decay::try_weight(self.step_size)
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        checked(
            EmaConfig::new()
                .with_decay(self.decay()?)
                .with_interval(self.period),
        )
    }
}
