//! TensorFlow's ramp.

use serde::{Deserialize, Serialize};

use super::check::valid;
use super::{Checks, Clock, Decay, Moment, Rule};
use crate::EmaError;

/// `decay = clamp((1 + s) / (factor + s), min, max)`: the ramp of `tf.train.ExponentialMovingAverage`.
///
/// With the usual `factor` of 10 the first average keeps a tenth of the initial weights, and 0.999 is
/// reached after 8 990 updates. `s` is read from the [`clock`](Clock): by default the number of averages
/// before this one.
///
/// diffusers uses it where no other warm-up is asked for, pytorch_ema always, and d2go with a factor of
/// the user's; they count `s` from 1.
///
/// # Example
///
/// ```
/// use burn_ema::{Moment, Rule, TfRamp};
///
/// let ramp = TfRamp::new(0.999);
/// let decay = |updates| ramp.decay(Moment { updates, interval: 1 });
/// assert_eq!([decay(0), decay(1), decay(100_000)], [0.1, 2.0 / 11.0, 0.999]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TfRamp {
    /// Upper bound of the decay, in `[0.5, 1]`.
    pub max: f64,
    /// Lower bound of the decay, in `[0, max]`.
    #[serde(default)]
    pub min: f64,
    /// Finite, and at least 1.
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
    /// The ramp up to `max`, with a `factor` of 10.
    ///
    /// # Panics
    ///
    /// If a number is out of its range.
    pub fn new(max: f64) -> Self {
        valid(Self {
            max,
            min: 0.0,
            factor: usual_factor(),
            clock: Clock::default(),
        })
    }
}

impl From<TfRamp> for Decay {
    fn from(rule: TfRamp) -> Self {
        Self::TfRamp(rule)
    }
}

impl Rule for TfRamp {
    fn decay(&self, at: Moment) -> f64 {
        let s = self.clock.read(at);
        ((1.0 + s) / (self.factor + s)).max(self.min).min(self.max)
    }

    fn validate(&self) -> Result<(), EmaError> {
        let factor_holds = self.factor.is_finite() && self.factor >= 1.0;
        let min_holds = (0.0..=self.max).contains(&self.min);
        Checks::of("TfRamp")
            .decay("max", self.max)
            .that(min_holds, "min", "in [0, max]", self.min)
            .that(factor_holds, "factor", "finite and at least 1", self.factor)
            .done()
    }
}
