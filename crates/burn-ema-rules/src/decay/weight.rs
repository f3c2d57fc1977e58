//! A constant decay, given by its complement.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// The same weight of the new weights at every update. Made by [`Decay::weight`](crate::decay::Decay::weight).
///
/// mmagic and mmengine call this number momentum, optax calls it step size, and DQN papers call it tau. Decay is
/// `1 - weight`.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress, Weight};
///
/// let first = Progress { updates: 0, interval: 1 };
/// assert_eq!(Weight { weight: 0.25 }.decay(first), 0.75);
/// ```
#[doc(alias = "tau")]
#[doc(alias = "momentum")]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// Share of the new weights, in `[0, 1]`.
    pub weight: f64,
}

impl DecaySchedule for Weight {
    fn decay(&self, _at: Progress) -> f64 {
        1.0 - self.weight
    }

    fn validate(&self) -> Result<(), RulesError> {
        Checks::of("Decay::weight")
            .share("weight", self.weight)
            .warn_of_decay("weight", self.weight)
            .done()
    }

    fn retained(&self, _from: Progress, updates: u64) -> f64 {
        (1.0 - self.weight).powf(updates as f64)
    }
}
