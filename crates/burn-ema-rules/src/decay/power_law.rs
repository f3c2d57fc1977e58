//! A weight that falls as a power.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::clock::Clock;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// The weight of the new weights falls as a power: `decay = 1 - (rho + gamma * s)^-power`, where the weight is at least
/// `min_weight` and at most 1.
///
/// With `rho = 10` and `power = 0.5` it is the schedule of BEMA's EMA (Block and Zhang 2025, arXiv:2508.00180). By default the
/// first update has the weight `rho^-power`: with `rho` above 1 it is no copy, unlike in
/// [`PowerWarmup`](crate::decay::PowerWarmup), and the initial weights count. `s` is read from the [`clock`](Clock).
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, PowerLaw, Progress};
///
/// let law = PowerLaw { rho: 4.0, ..PowerLaw::new(0.5) };
/// let decay = |updates| law.decay(Progress { updates, interval: 1 });
/// assert_eq!([0, 5, 12].map(decay), [1.0 - 1.0 / 2.0, 1.0 - 1.0 / 3.0, 1.0 - 1.0 / 4.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerLaw {
    /// `rho` in the formula, finite and above 0.
    pub rho: f64,
    /// `gamma` in the formula, finite and above 0.
    pub gamma: f64,
    /// The exponent, finite and above 0.
    pub power: f64,
    /// Lower bound of the weight, in `[0, 1]`. Default: 0.
    #[serde(default)]
    pub min_weight: f64,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

impl PowerLaw {
    /// The weight `(1 + s)^-power`: the first update is a copy.
    #[must_use]
    pub fn new(power: f64) -> Self {
        Self {
            rho: 1.0,
            gamma: 1.0,
            power,
            min_weight: 0.0,
            clock: Clock::default(),
        }
    }

    /// The weight at `s`, which is at least 0.
    #[must_use]
    pub fn weight(&self, s: f64) -> f64 {
        let weight = (self.rho + self.gamma * s).powf(-self.power);
        weight.max(self.min_weight).min(1.0)
    }
}

impl DecaySchedule for PowerLaw {
    fn decay(&self, at: Progress) -> f64 {
        1.0 - self.weight(self.clock.read(at))
    }

    fn validate(&self) -> Result<(), RulesError> {
        Checks::of("PowerLaw")
            .positive("rho", self.rho)
            .positive("gamma", self.gamma)
            .positive("power", self.power)
            .share("min_weight", self.min_weight)
            .done()
    }
}
