//! pytorch_ema (fadel).

use serde::{Deserialize, Serialize};

use crate::decay::clock::Clock;
use crate::decay::tf_ramp::TfRamp;
use crate::error::RulesError;
use crate::presets::convert::constant;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// pytorch_ema's `ExponentialMovingAverage`: a [`TfRamp`] that counts from 1, or a constant decay.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Preset, PytorchEma};
///
/// let first = Progress { updates: 0, interval: 1 };
/// assert_eq!(PytorchEma::default().decay()?.decay(first), 2.0 / 11.0);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PytorchEma {
    /// `decay`, in `[0, 1]`. Default: 0.995; pytorch_ema has no default.
    pub decay: f64,
    /// `use_num_updates`. Default: true.
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

impl Preset for PytorchEma {
    fn settings(&self) -> Result<Settings, RulesError> {
        let constant = constant("PytorchEma", "decay", self.decay)?;
        let decay = match self.use_num_updates {
            false => constant,
            true => TfRamp {
                max: self.decay,
                min: 0.0,
                factor: 10.0,
                clock: Clock {
                    inclusive: true,
                    ..Clock::default()
                },
            }
            .into(),
        };
        Settings::new(decay).checked()
    }
}
