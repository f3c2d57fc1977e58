//! Composer (MosaicML).

use serde::{Deserialize, Serialize};

use crate::decay::known::Decay;
use crate::error::RulesError;
use crate::presets::convert::constant;
use crate::presets::preset::Preset;
use crate::presets::settings::{Buffers, Settings};

/// Composer's `EMA`, in batches: by half-life, corrected for the interval, or with a given `smoothing` at each update.
/// Trainable parameters and buffers are averaged.
///
/// Difference: Composer updates at multiples of the interval for any start; this preset counts the interval from the
/// start.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{Composer, Preset};
///
/// // EMA(half_life="100ba")
/// let composer = Composer { half_life: 100.0, ..Composer::default() };
/// assert_eq!(composer.decay()?, Decay::half_life(100.0));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Composer {
    /// `half_life` in batches, finite and positive. Default: 1000. Not used if there is a `smoothing`.
    pub half_life: f64,
    /// `smoothing`, the decay of an update, in `[0, 1]`. Default: none.
    pub smoothing: Option<f64>,
    /// `ema_start` in batches. Default: 0.
    pub ema_start: u64,
    /// `update_interval` in batches, at least 1. Default: 1.
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

impl Preset for Composer {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = match self.smoothing {
            None => Decay::try_half_life(self.half_life)?,
            Some(smoothing) => constant("Composer", "smoothing", smoothing)?,
        };
        Settings {
            start: self.ema_start,
            interval: self.update_interval,
            buffers: Buffers::Average,
            ..Settings::new(decay)
        }
        .checked()
    }
}
