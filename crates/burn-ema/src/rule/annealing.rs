//! mmengine's momentum annealing.

use serde::{Deserialize, Serialize};

use super::check::valid;
use super::{Checks, Clock, Decay, Moment, Rule};
use crate::EmaError;

/// The weight of the new value falls from 1 as `gamma / (gamma + s)` down to `weight`:
/// `decay = 1 - max(weight, gamma / (gamma + s))`.
///
/// While it falls, with `gamma = 1`, this is the mean of all that was seen; larger values favour later
/// weights. `s` is read from the [`clock`](Clock): by default the number of averages before this one, so the
/// first is a copy. This is mmengine's `MomentumAnnealingEMA`, which counts steps.
///
/// # Example
///
/// ```
/// use burn_ema::{Annealing, Moment, Rule};
///
/// let rule = Annealing::new(0.25, 2.0);
/// let decay = |updates| rule.decay(Moment { updates, interval: 1 });
/// assert_eq!([0, 2, 6, 7].map(decay), [0.0, 0.5, 0.75, 0.75]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annealing {
    /// The weight of the new value at the end, above 0 and below 1.
    pub weight: f64,
    /// Number of updates in which the weight halves for the first time, finite and positive.
    pub gamma: f64,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

impl Annealing {
    /// Annealing down to `weight`.
    ///
    /// # Panics
    ///
    /// If a number is out of its range.
    pub fn new(weight: f64, gamma: f64) -> Self {
        valid(Self {
            weight,
            gamma,
            clock: Clock::default(),
        })
    }
}

impl From<Annealing> for Decay {
    fn from(rule: Annealing) -> Self {
        Self::Annealing(rule)
    }
}

impl Rule for Annealing {
    fn decay(&self, at: Moment) -> f64 {
        let annealed = self.gamma / (self.gamma + self.clock.read(at));
        1.0 - annealed.max(self.weight)
    }

    fn validate(&self) -> Result<(), EmaError> {
        Checks::of("Annealing")
            .momentum("weight", self.weight)
            .warn_of_decay("weight", self.weight)
            .positive("gamma", self.gamma)
            .done()
    }
}
