//! Marian: neural machine translation in C++.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::known::Decay;
use crate::decay::tf_ramp::TfRamp;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// Marian's `--exponential-smoothing`, with its warm-up: the weight of the *new* weights after `b` batches is
/// `max(1 - (1 - exponential_smoothing)^ratio, 1 - (b + 1) / (b + 10))`.
///
/// Marian computes `ratio` at each update, from the words of the batch; this preset has one constant `ratio` for the run.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Marian, Preset};
///
/// let decay = Marian::default().decay()?;
/// let weight = |updates| 1.0 - decay.decay(Progress { updates, interval: 1 });
/// assert!((weight(10) - 0.45).abs() < 1e-15);
/// assert!((weight(100_000) - 1e-4).abs() < 1e-15);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Marian {
    /// `--exponential-smoothing`, above 0 and below 1. Default: 1e-4, its value without an argument.
    pub exponential_smoothing: f64,
    /// Words of a batch divided by `--mini-batch-words-ref`, finite and above 0. Default: 1, as without a reference.
    pub ratio: f64,
}

impl Default for Marian {
    fn default() -> Self {
        Self {
            exponential_smoothing: 1e-4,
            ratio: 1.0,
        }
    }
}

impl Preset for Marian {
    fn settings(&self) -> Result<Settings, RulesError> {
        Checks::of("Marian")
            .momentum("exponential_smoothing", self.exponential_smoothing)
            .positive("ratio", self.ratio)
            .done()?;
        let kept = (1.0 - self.exponential_smoothing).powf(self.ratio);
        let ramp = TfRamp {
            max: kept,
            ..TfRamp::new(1.0)
        };
        Settings::of_all_floats(Decay::from(ramp), false).checked()
    }
}
