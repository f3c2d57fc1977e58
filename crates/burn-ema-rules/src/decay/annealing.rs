//! mmengine's momentum annealing.

use serde::{Deserialize, Serialize};

use crate::decay::checks::{Checks, valid};
use crate::decay::clock::Clock;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Momentum annealing of mmengine (`MomentumAnnealingEMA`): `decay = 1 - max(weight, gamma / (gamma + s))`.
///
/// The weight of the new weights falls from 1 down to `weight`. While the weight falls, `gamma = 1` gives the mean of all
/// weights seen; a larger `gamma` gives later weights more weight. `s` is read from the [`clock`](Clock): by default `s`
/// is the number of updates before this update, so the first update is a copy. mmengine counts optimizer steps.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{Annealing, DecaySchedule, Progress};
///
/// let annealing = Annealing::new(0.25, 2.0);
/// let decay = |updates| annealing.decay(Progress { updates, interval: 1 });
/// assert_eq!([0, 2, 6, 7].map(decay), [0.0, 0.5, 0.75, 0.75]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annealing {
    /// The weight of the new weights at the end, above 0 and below 1.
    pub weight: f64,
    /// Number of updates in which the weight halves for the first time, finite and positive.
    pub gamma: f64,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

impl Annealing {
    /// Makes an annealing down to `weight`.
    ///
    /// # Panics
    ///
    /// Panics if `weight` is not above 0 and below 1, or `gamma` is not finite and positive.
    #[must_use]
    #[track_caller]
    pub fn new(weight: f64, gamma: f64) -> Self {
        valid(Self {
            weight,
            gamma,
            clock: Clock::default(),
        })
    }
}

impl DecaySchedule for Annealing {
    fn decay(&self, at: Progress) -> f64 {
        let annealed = self.gamma / (self.gamma + self.clock.read(at));
        1.0 - annealed.max(self.weight)
    }

    fn validate(&self) -> Result<(), RulesError> {
        Checks::of("Annealing")
            .momentum("weight", self.weight)
            .warn_of_decay("weight", self.weight)
            .positive("gamma", self.gamma)
            .done()
    }
}
