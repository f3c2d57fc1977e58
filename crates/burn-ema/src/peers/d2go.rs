//! d2go (facebookresearch).

use super::{Peer, average_or_copy};
use crate::{Clock, Decay, EmaConfig, EmaError, Policy, TfRamp};

/// d2go's `EMAUpdater`: a [`TfRamp`] with a factor of the user's that counts from 1, or a constant. (Integers are
/// truncated there.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct D2go {
    /// `decay`, default 0.999.
    pub decay: f64,
    /// `decay_warm_up_factor`; `None` is its default of -1, a constant decay.
    pub decay_warm_up_factor: Option<f64>,
    /// `include_frozen`, default true: frozen parameters are averaged.
    pub include_frozen: bool,
    /// `include_buffer`, default true: buffers are averaged.
    pub include_buffer: bool,
}

impl Default for D2go {
    fn default() -> Self {
        Self {
            decay: 0.999,
            decay_warm_up_factor: None,
            include_frozen: true,
            include_buffer: true,
        }
    }
}

impl Peer for D2go {
    fn decay(&self) -> Result<Decay, EmaError> {
        let Some(factor) = self.decay_warm_up_factor else {
            return Decay::try_constant(self.decay);
        };
        let rule = TfRamp {
            max: self.decay,
            min: 0.0,
            factor,
            clock: Clock {
                inclusive: true,
                ..Clock::default()
            },
        };
        Decay::from(rule).checked()
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        let policy = Policy::new()
            .with_non_trainable(average_or_copy(self.include_frozen))
            .with_buffers(average_or_copy(self.include_buffer));
        Ok(EmaConfig::new()
            .with_decay(self.decay()?)
            .with_policy(policy))
    }
}
