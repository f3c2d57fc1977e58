//! A constant decay.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// The same decay at every update. Made by [`Decay::constant`](crate::decay::Decay::constant).
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{Constant, DecaySchedule, Progress};
///
/// let first = Progress { updates: 0, interval: 1 };
/// assert_eq!(Constant { decay: 0.999 }.decay(first), 0.999);
/// assert_eq!(Constant { decay: 0.5 }.retained(first, 3), 0.125);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// Share of the old EMA that an update keeps, in `[0, 1]`. [`Decay::constant`](crate::decay::Decay::constant) accepts
    /// `[0.5, 1]`.
    pub decay: f64,
}

impl DecaySchedule for Constant {
    fn decay(&self, _at: Progress) -> f64 {
        self.decay
    }

    fn validate(&self) -> Result<(), RulesError> {
        Checks::of("Constant")
            .share("decay", self.decay)
            .warn_of_weight("decay", self.decay)
            .done()
    }

    fn retained(&self, _from: Progress, updates: u64) -> f64 {
        self.decay.powf(updates as f64)
    }
}
