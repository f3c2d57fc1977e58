//! pytorch_ema (fadel).

use super::{Peer, constant};
use crate::{Clock, Decay, EmaConfig, EmaError, TfRamp};

/// pytorch_ema's `ExponentialMovingAverage`: a [`TfRamp`] that counts from 1, or a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PytorchEma {
    /// `decay`, default 0.995, which there has no default.
    pub decay: f64,
    /// `use_num_updates`, default true.
    pub use_num_updates: bool,
}

impl Default for PytorchEma {
    fn default() -> Self {
        Self {
            decay: 0.995,
            use_num_updates: true,
        }
    }
}

impl Peer for PytorchEma {
    fn decay(&self) -> Result<Decay, EmaError> {
        if !self.use_num_updates {
            return constant(self.decay);
        }
        let rule = TfRamp {
            max: self.decay,
            min: 0.0,
            factor: 10.0,
            clock: Clock {
                inclusive: true,
                ..Clock::default()
            },
        };
        Decay::from(rule).checked()
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new().with_decay(self.decay()?))
    }
}
