//! Levanter (Stanford CRFM): the averages of Marin's language models.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::known::Decay;
use crate::error::RulesError;
use crate::presets::convert::constant;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// Levanter's `EmaModelAveragingConfig`: a constant decay.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{LevanterEma, Preset};
///
/// assert_eq!(LevanterEma::default().decay()?, Decay::constant(0.999));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LevanterEma {
    /// `beta`, in `[0, 1]`. Default: 0.999.
    pub beta: f64,
}

impl Default for LevanterEma {
    fn default() -> Self {
        Self { beta: 0.999 }
    }
}

impl Preset for LevanterEma {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = constant("LevanterEma", "beta", self.beta)?;
        Settings::of_all_floats(decay, true).checked()
    }
}

/// Levanter's `EmaDecaySqrtConfig`: a mean whose weights fall as `1 - sqrt(x)` after `switch_step`.
///
/// The settings are those of a mean; [`weight`](Self::weight) is how much each update counts in it, for
/// `EmaModel::update_weighted` of burn-ema. Before `switch_step` all weights are equal in Levanter's code, so it is a plain
/// mean there, and not the EMA of its name: `beta` only sets how little that mean counts later.
///
/// # Example
///
/// ```
/// use burn_ema_rules::presets::LevanterDecaySqrt;
///
/// let levanter = LevanterDecaySqrt { beta: 0.75, switch_step: 100, decay_steps: 64 };
/// assert_eq!([0, 99, 100, 116, 164, 1_000].map(|step| levanter.weight(step)), [0.25, 0.25, 1.0, 0.5, 0.0, 0.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LevanterDecaySqrt {
    /// `beta`, in `[0, 1]`. Default: 0.999.
    pub beta: f64,
    /// `switch_step`. Default: 100,000.
    pub switch_step: u64,
    /// `decay_steps`, at least 1. Default: 100,000.
    pub decay_steps: u64,
}

impl Default for LevanterDecaySqrt {
    fn default() -> Self {
        Self {
            beta: 0.999,
            switch_step: 100_000,
            decay_steps: 100_000,
        }
    }
}

impl LevanterDecaySqrt {
    /// The weight of the update of optimizer step `step`, counted from 0 as in Levanter: the first update has step 0.
    #[must_use]
    pub fn weight(&self, step: u64) -> f64 {
        match step.checked_sub(self.switch_step) {
            None => 1.0 - self.beta,
            Some(since) => {
                let way = since as f64 / self.decay_steps as f64;
                1.0 - way.clamp(0.0, 1.0).sqrt()
            }
        }
    }
}

impl Preset for LevanterDecaySqrt {
    fn settings(&self) -> Result<Settings, RulesError> {
        Checks::of("LevanterDecaySqrt")
            .share("beta", self.beta)
            .positive("decay_steps", self.decay_steps as f64)
            .done()?;
        Settings::of_all_floats(Decay::equal_weights(), true).checked()
    }
}
