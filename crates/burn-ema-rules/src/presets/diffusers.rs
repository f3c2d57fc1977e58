//! diffusers (Hugging Face).

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::clock::Clock;
use crate::decay::known::Decay;
use crate::decay::power_warmup::PowerWarmup;
use crate::decay::tf_ramp::TfRamp;
use crate::error::RulesError;
use crate::presets::convert::delay;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// diffusers' `EMAModel`: copies up to and including call `update_after_step + 1`, then a [`PowerWarmup`] if
/// `use_ema_warmup` is true, and a [`TfRamp`] otherwise. `EMAModel` has no plain constant decay.
///
/// Frozen parameters are copied. Difference: diffusers does not track buffers; this preset copies them.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Diffusers, Preset};
///
/// // EMAModel(parameters, decay=0.9999)
/// let decay = Diffusers::default().decay()?;
/// let at = |updates| decay.decay(Progress { updates, interval: 1 });
/// assert_eq!([at(0), at(1), at(1_000_000)], [0.0, 2.0 / 11.0, 0.9999]);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Diffusers {
    /// `decay`, in `[0, 1]`. Default: 0.9999.
    pub decay: f64,
    /// `min_decay`, in `[0, decay]`. Default: 0.
    pub min_decay: f64,
    /// `update_after_step`. Default: 0.
    pub update_after_step: u64,
    /// `use_ema_warmup`. Default: false.
    pub use_ema_warmup: bool,
    /// `inv_gamma`, finite and positive. Default: 1. Not used without `use_ema_warmup`.
    pub inv_gamma: f64,
    /// `power`, finite and positive. Default: 2/3. Not used without `use_ema_warmup`.
    pub power: f64,
}

impl Default for Diffusers {
    fn default() -> Self {
        Self {
            decay: 0.9999,
            min_decay: 0.0,
            update_after_step: 0,
            use_ema_warmup: false,
            inv_gamma: 1.0,
            power: 2.0 / 3.0,
        }
    }
}

impl Preset for Diffusers {
    fn settings(&self) -> Result<Settings, RulesError> {
        Checks::of("Diffusers").share("decay", self.decay).done()?;
        let clock = Clock {
            offset: delay(self.update_after_step),
            ..Clock::default()
        };
        let decay: Decay = match self.use_ema_warmup {
            true => PowerWarmup {
                power: self.power,
                inv_gamma: self.inv_gamma,
                min: self.min_decay,
                max: self.decay,
                clock,
            }
            .into(),
            false => {
                let ramp = TfRamp {
                    max: self.decay,
                    min: self.min_decay,
                    factor: 10.0,
                    clock,
                };
                let copies = self.update_after_step.saturating_add(1);
                Decay::from(ramp).copy_first(copies)
            }
        };
        Settings::new(decay).checked()
    }
}
