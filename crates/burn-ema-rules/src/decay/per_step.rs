//! A decay schedule per optimizer step.

use serde::{Deserialize, Serialize};

use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::known::Decay;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Makes a decay schedule independent of the interval: an update keeps as much of the old EMA as `interval` updates, one
/// at each optimizer step, would keep. Made by [`Decay::per_step`].
///
/// For a constant decay that is `decay^interval`. Half-life, power function and equal weights (without a prior) are
/// independent of the interval by themselves.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
///
/// let decay = Decay::constant(0.999).per_step();
/// assert_eq!(decay.decay(Progress { updates: 0, interval: 10 }), 0.999_f64.powf(10.0));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PerStep {
    /// The schedule for an update at each optimizer step.
    pub schedule: Box<Decay>,
}

impl DecaySchedule for PerStep {
    fn decay(&self, at: Progress) -> f64 {
        self.retained(at, 1)
    }

    fn validate(&self) -> Result<(), RulesError> {
        self.schedule.validate()
    }

    fn retained(&self, from: Progress, updates: u64) -> f64 {
        let steps = updates.saturating_mul(from.interval);
        self.schedule.retained(from.in_steps(), steps)
    }
}
