//! timm (huggingface/pytorch-image-models).

use serde::{Deserialize, Serialize};

use crate::decay::clock::Clock;
use crate::decay::power_warmup::PowerWarmup;
use crate::error::RulesError;
use crate::presets::convert::{constant, delay};
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// timm's `ModelEmaV2`: a constant decay, with an update at each step from the weights at construction on. Buffers are
/// averaged.
///
/// Difference: timm truncates integers; this preset copies them.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{Preset, TimmV2};
///
/// assert_eq!(TimmV2 { decay: 0.9998 }.decay()?, Decay::constant(0.9998));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimmV2 {
    /// `decay`, in `[0, 1]`. Default: 0.9999.
    pub decay: f64,
}

impl Default for TimmV2 {
    fn default() -> Self {
        Self { decay: 0.9999 }
    }
}

impl Preset for TimmV2 {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = constant("TimmV2", "decay", self.decay)?;
        Settings::of_all_floats(decay, true).checked()
    }
}

/// timm's `ModelEmaV3`: copies up to and including update `update_after_step + 1`, then a constant decay, or a
/// [`PowerWarmup`] that counts from there.
///
/// The caller tells timm the step; timm's training script counts optimizer steps from 1, as this crate does.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Preset, TimmV3};
///
/// let timm = TimmV3 { use_warmup: true, update_after_step: 10, ..TimmV3::default() };
/// let decay = timm.decay()?;
/// let at_step = |step: u64| decay.decay(Progress { updates: step - 1, interval: 1 });
/// assert_eq!(at_step(11), 0.0);
/// assert_eq!(at_step(12), 1.0 - 2.0_f64.powf(-2.0 / 3.0));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimmV3 {
    /// `decay`, in `[0, 1]`. Default: 0.9999.
    pub decay: f64,
    /// `min_decay`, in `[0, decay]`. Default: 0. Not used without `use_warmup`.
    pub min_decay: f64,
    /// `update_after_step`. Default: 0.
    pub update_after_step: u64,
    /// `use_warmup`. Default: false.
    pub use_warmup: bool,
    /// `warmup_gamma`, finite and positive. Default: 1. Not used without `use_warmup`.
    pub warmup_gamma: f64,
    /// `warmup_power`, finite and positive. Default: 2/3. Not used without `use_warmup`.
    pub warmup_power: f64,
    /// `exclude_buffers`. Default: false, buffers are averaged.
    pub exclude_buffers: bool,
}

impl Default for TimmV3 {
    fn default() -> Self {
        Self {
            decay: 0.9999,
            min_decay: 0.0,
            update_after_step: 0,
            use_warmup: false,
            warmup_gamma: 1.0,
            warmup_power: 2.0 / 3.0,
            exclude_buffers: false,
        }
    }
}

impl Preset for TimmV3 {
    fn settings(&self) -> Result<Settings, RulesError> {
        let constant = constant("TimmV3", "decay", self.decay)?;
        let decay = match self.use_warmup {
            true => PowerWarmup {
                power: self.warmup_power,
                inv_gamma: self.warmup_gamma,
                min: self.min_decay,
                max: self.decay,
                clock: Clock {
                    offset: delay(self.update_after_step),
                    ..Clock::default()
                },
            }
            .into(),
            false => constant.copy_first(self.update_after_step.saturating_add(1)),
        };
        Settings::of_all_floats(decay, !self.exclude_buffers).checked()
    }
}
