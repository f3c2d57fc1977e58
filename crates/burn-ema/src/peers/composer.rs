//! Composer (MosaicML).

use super::{Peer, checked};
use crate::{Action, Decay, EmaConfig, EmaError, Policy};

/// Composer's `EMA`, in batches: by half-life, corrected for the interval, or with a given `smoothing` at each
/// update. Trainable parameters and buffers are averaged.
///
/// There updates are at multiples of the interval, whatever the start; here they are counted from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Composer {
    /// `half_life` in batches, default 1000. Not used if there is a `smoothing`.
    pub half_life: f64,
    /// `smoothing`, the decay of an update. Default none.
    pub smoothing: Option<f64>,
    /// `ema_start` in batches, default 0.
    pub ema_start: u64,
    /// `update_interval` in batches, default 1.
    pub update_interval: u64,
}

impl Default for Composer {
    fn default() -> Self {
        Self {
            half_life: 1000.0,
            smoothing: None,
            ema_start: 0,
            update_interval: 1,
        }
    }
}

impl Peer for Composer {
    fn decay(&self) -> Result<Decay, EmaError> {
        match self.smoothing {
            None => Decay::try_half_life(self.half_life),
            Some(smoothing) => Decay::try_constant(smoothing),
        }
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        checked(
            EmaConfig::new()
                .with_decay(self.decay()?)
                .with_start(self.ema_start)
                .with_interval(self.update_interval)
                .with_policy(Policy::new().with_buffers(Action::Average)),
        )
    }
}
