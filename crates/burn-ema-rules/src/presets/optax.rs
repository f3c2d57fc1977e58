//! optax (Google DeepMind).

use serde::{Deserialize, Serialize};

use crate::decay::known::Decay;
use crate::error::RulesError;
use crate::presets::convert::constant;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// optax's `ema(decay, debias=True)`, used on weights: no trace of the initial weights is left.
///
/// Without `debias`, optax's EMA starts at zero and stays too small for the length of a window, so there is no preset for
/// that.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{Optax, Preset};
///
/// assert_eq!(Optax { decay: 0.9 }.decay()?, Decay::constant(0.9).debiased());
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optax {
    /// `decay`, in `[0, 1]`. Default: 0.999; optax has no default.
    pub decay: f64,
}

impl Default for Optax {
    fn default() -> Self {
        Self { decay: 0.999 }
    }
}

impl Preset for Optax {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = constant("Optax", "decay", self.decay)?;
        Settings::new(decay.debiased()).checked()
    }
}

/// optax's `incremental_update(new, old, step_size)` at every `period`-th step: the soft update of target networks. With a
/// `step_size` of 1 it is `periodic_update`.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{OptaxIncremental, Preset};
///
/// assert_eq!(OptaxIncremental::default().decay()?, Decay::tau(0.005));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptaxIncremental {
    /// `step_size`, the weight of the *new* weights, in `[0, 1]`. Default: 0.005; optax has no default.
    pub step_size: f64,
    /// Number of optimizer steps from one update to the next, at least 1. Default: 1.
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

impl Preset for OptaxIncremental {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = Decay::try_weight(self.step_size)?;
        Settings {
            interval: self.period,
            ..Settings::new(decay)
        }
        .checked()
    }
}
