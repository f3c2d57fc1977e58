//! Lightning.

use serde::{Deserialize, Serialize};

use crate::error::RulesError;
use crate::presets::convert::constant;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// Lightning's `EMAWeightAveraging`: torch's `AveragedModel`, updated at the steps, counted from 0, that are multiples of
/// `update_every_n_steps` and not before `update_starting_at_step`. The first of these steps copies.
///
/// Difference: before the first copy, validation sees the weights at construction in Lightning, and the current weights
/// here. For a start at an epoch, multiply by the number of steps in an epoch: `update_starting_at_epoch` alone delays
/// nothing in Lightning.
///
/// # Example
///
/// ```
/// use burn_ema_rules::presets::{Lightning, Preset};
///
/// let lightning = Lightning { update_starting_at_step: 100, ..Lightning::default() };
/// assert_eq!(lightning.settings()?.start, 101);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lightning {
    /// `decay`, in `[0, 1]`. Default: 0.999.
    pub decay: f64,
    /// `update_every_n_steps`, at least 1. Default: 1.
    pub update_every_n_steps: u64,
    /// `update_starting_at_step`. Default: 0.
    pub update_starting_at_step: u64,
    /// `use_buffers`. Default: true, buffers are averaged.
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

impl Preset for Lightning {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = constant("Lightning", "decay", self.decay)?;
        let interval = self.update_every_n_steps;
        // The first update of Lightning is the last copy here.
        let copies = self
            .update_starting_at_step
            .div_ceil(interval.max(1))
            .saturating_mul(interval)
            .saturating_add(1);
        Settings {
            start: copies,
            interval,
            ..Settings::of_all_floats(decay, self.use_buffers)
        }
        .checked()
    }
}
