//! TensorFlow's ramp.

use serde::{Deserialize, Serialize};

use crate::decay::checks::{Checks, or_panic, valid};
use crate::decay::clock::Clock;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Ramp of `tf.train.ExponentialMovingAverage` (`num_updates`): `decay = clamp((1 + s) / (factor + s), min, max)`.
///
/// With the usual `factor` of 10 the first update keeps a tenth of the initial weights, and 0.999 is reached after 8,990
/// updates. `s` is read from the [`clock`](Clock): by default `s` is the number of updates before this update.
///
/// diffusers uses this ramp if `use_ema_warmup` is false, pytorch_ema by default, and d2go with a factor that the user
/// sets. All three count `s` from 1.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress, TfRamp};
///
/// let ramp = TfRamp::new(0.999);
/// let decay = |updates| ramp.decay(Progress { updates, interval: 1 });
/// assert_eq!([decay(0), decay(1), decay(100_000)], [0.1, 2.0 / 11.0, 0.999]);
/// ```
#[doc(alias = "num_updates")]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TfRamp {
    /// Upper bound of the decay, in `[0, 1]`. [`new`](Self::new) accepts `[0.5, 1]`.
    pub max: f64,
    /// Lower bound of the decay, in `[0, max]`. Default: 0.
    #[serde(default)]
    pub min: f64,
    /// The `factor` of the formula, finite and at least 1. Default: 10.
    #[serde(default = "usual_factor")]
    pub factor: f64,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

fn usual_factor() -> f64 {
    10.0
}

impl TfRamp {
    /// Makes a ramp up to `max`, with a `factor` of 10.
    ///
    /// # Panics
    ///
    /// Panics if `max` is not in `[0.5, 1]`.
    #[must_use]
    #[track_caller]
    pub fn new(max: f64) -> Self {
        or_panic(Checks::of("TfRamp").usual_decay("max", max).done());
        valid(Self {
            max,
            min: 0.0,
            factor: usual_factor(),
            clock: Clock::default(),
        })
    }
}

impl DecaySchedule for TfRamp {
    fn decay(&self, at: Progress) -> f64 {
        let s = self.clock.read(at);
        ((1.0 + s) / (self.factor + s)).max(self.min).min(self.max)
    }

    fn validate(&self) -> Result<(), RulesError> {
        let factor_holds = self.factor.is_finite() && self.factor >= 1.0;
        let min_holds = (0.0..=self.max).contains(&self.min);
        Checks::of("TfRamp")
            .share("max", self.max)
            .that(min_holds, "min", "in [0, max]", self.min)
            .that(factor_holds, "factor", "finite and at least 1", self.factor)
            .warn_of_weight("max", self.max)
            .done()
    }
}
