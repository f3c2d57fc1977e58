//! Decay by half-life.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Decay by half-life: the weight of a step halves in `steps` optimizer steps, `decay = 2^(-interval / steps)`. Made by
/// [`Decay::half_life`](crate::decay::Decay::half_life).
///
/// The half-life is in optimizer steps and does not depend on the interval: one update every 10 steps decays as much as
/// 10 updates. MosaicML Composer's `EMA` counts in the same way.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, HalfLife, Progress};
///
/// let half_life = HalfLife { steps: 1000.0 };
/// let decay = half_life.decay(Progress { updates: 0, interval: 1 });
/// assert!((decay - 0.9993070929904525).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HalfLife {
    /// Half-life in optimizer steps, finite and positive.
    pub steps: f64,
}

impl DecaySchedule for HalfLife {
    fn decay(&self, at: Progress) -> f64 {
        (-(at.interval as f64) / self.steps).exp2()
    }

    fn validate(&self) -> Result<(), RulesError> {
        Checks::of("Decay::half_life")
            .positive("steps", self.steps)
            .done()
    }

    fn retained(&self, from: Progress, updates: u64) -> f64 {
        (-(from.interval as f64) * updates as f64 / self.steps).exp2()
    }
}
