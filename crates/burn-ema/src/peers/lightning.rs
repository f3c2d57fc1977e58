//! Lightning.

use super::{Peer, all_floats, checked};
use crate::{Decay, EmaConfig, EmaError};

/// Lightning's `EMAWeightAveraging`: torch's averaged model, updated at the steps, counted from 0, that are
/// multiples of `update_every_n_steps` and not before `update_starting_at_step`. The first of them copies.
///
/// Before it, validation sees the weights at construction there, and the current ones here. For a start at an
/// epoch multiply by the steps of one: `update_starting_at_epoch` alone does not delay anything there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lightning {
    /// `decay`, default 0.999.
    pub decay: f64,
    /// `update_every_n_steps`, default 1.
    pub update_every_n_steps: u64,
    /// `update_starting_at_step`, default 0.
    pub update_starting_at_step: u64,
    /// `use_buffers`, default true: buffers are averaged.
    pub use_buffers: bool,
}

impl Default for Lightning {
    fn default() -> Self {
        Self {
            decay: 0.999,
            update_every_n_steps: 1,
            update_starting_at_step: 0,
            use_buffers: true,
        }
    }
}

impl Peer for Lightning {
    fn decay(&self) -> Result<Decay, EmaError> {
        Decay::try_constant(self.decay)
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        let interval = self.update_every_n_steps;
        // The first update there is the last copy here.
        let copies = self
            .update_starting_at_step
            .div_ceil(interval.max(1))
            .saturating_mul(interval)
            .saturating_add(1);
        checked(
            EmaConfig::new()
                .with_decay(self.decay()?)
                .with_start(copies)
                .with_interval(interval)
                .with_policy(all_floats(self.use_buffers)),
        )
    }
}
