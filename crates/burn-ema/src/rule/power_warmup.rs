//! A decay that grows as a power of the number of updates.

use serde::{Deserialize, Serialize};

use super::check::valid;
use super::{Checks, Clock, Decay, Moment, Rule};
use crate::EmaError;

/// `decay = clamp(1 - (1 + s / inv_gamma)^-power, min, max)`, and a copy at `s = 0`.
///
/// The memory grows with training, and the initial weights leave no trace. `s` is read from the
/// [`clock`](Clock): by default the number of averages before this one, so the first is a copy. This is
/// the warm-up of timm's `ModelEmaV3`, ema-pytorch and diffusers. With `inv_gamma = 1`, `power = 2/3`
/// reaches 0.999 after 31.6 K updates and 0.9999 after 1 M; `power = 3/4` after 10 K and 215.4 K.
///
/// # Example
///
/// ```
/// use burn_ema::{Decay, EmaConfig, PowerWarmup};
///
/// let decay: Decay = PowerWarmup::new(0.75).with_max(0.9995).into();
/// let config = EmaConfig::new().with_decay(decay);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerWarmup {
    /// Exponent, finite and positive.
    pub power: f64,
    /// Stretches the curve: the count at which `1 + s / inv_gamma` is 2. Finite and positive.
    pub inv_gamma: f64,
    /// Lower bound of the decay of all but copies, in `[0, max]`.
    pub min: f64,
    /// Upper bound of the decay, in `[min, 1]`; the constructors want at least 0.5.
    pub max: f64,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

impl PowerWarmup {
    /// A warm-up with the given exponent, `inv_gamma = 1` and a decay between 0 and 0.9999.
    ///
    /// # Panics
    ///
    /// If `power` is not finite and positive.
    pub fn new(power: f64) -> Self {
        valid(Self {
            power,
            inv_gamma: 1.0,
            min: 0.0,
            max: 0.9999,
            clock: Clock::default(),
        })
    }

    /// Stretches the curve over `inv_gamma` times as many updates.
    ///
    /// # Panics
    ///
    /// If `inv_gamma` is not finite and positive.
    pub fn with_inv_gamma(mut self, inv_gamma: f64) -> Self {
        self.inv_gamma = inv_gamma;
        valid(self)
    }

    /// Sets the lower bound of the decay.
    ///
    /// # Panics
    ///
    /// If `min` is not between 0 and the upper bound.
    pub fn with_min(mut self, min: f64) -> Self {
        self.min = min;
        valid(self)
    }

    /// Sets the upper bound of the decay.
    ///
    /// # Panics
    ///
    /// If `max` is not in `[0.5, 1]`, or below the lower bound.
    pub fn with_max(mut self, max: f64) -> Self {
        self.max = max;
        let usual = Checks::of("PowerWarmup").decay("max", max).done();
        usual.unwrap_or_else(|error| panic!("{error}"));
        valid(self)
    }

    /// Copies at `start` more averages before the curve begins: timm's, ema-pytorch's and diffusers'
    /// `update_after_step`. Sets the offset of the [clock](Self::with_clock).
    pub fn with_start(mut self, start: u32) -> Self {
        self.clock.offset = -i64::from(start);
        self
    }

    /// Sets what `s` counts.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

impl From<PowerWarmup> for Decay {
    fn from(rule: PowerWarmup) -> Self {
        Self::PowerWarmup(rule)
    }
}

impl Rule for PowerWarmup {
    fn decay(&self, at: Moment) -> f64 {
        match self.clock.read(at) {
            0.0 => 0.0,
            s => (1.0 - (1.0 + s / self.inv_gamma).powf(-self.power))
                .max(self.min)
                .min(self.max),
        }
    }

    fn validate(&self) -> Result<(), EmaError> {
        let min_holds = (0.0..=self.max).contains(&self.min);
        Checks::of("PowerWarmup")
            .positive("power", self.power)
            .positive("inv_gamma", self.inv_gamma)
            .share("max", self.max)
            .that(min_holds, "min", "in [0, max]", self.min)
            .done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decay(rule: PowerWarmup, updates: u64) -> f64 {
        rule.decay(Moment {
            updates,
            interval: 1,
        })
    }

    #[test]
    fn follows_the_formula_from_a_copy_upwards() {
        let rule = PowerWarmup::new(2.0 / 3.0);
        assert_eq!(decay(rule, 0), 0.0);
        // 1 - 2^(-2/3), the second step of diffusers' warm-up.
        assert!((decay(rule, 1) - 0.3700394750525634).abs() < 1e-15);
        assert_eq!(decay(rule.with_min(0.5), 1), 0.5);
        assert_eq!(decay(rule.with_min(0.5), 0), 0.0);
        assert_eq!(decay(rule, 100_000_000), 0.9999);
    }

    #[test]
    fn start_shifts_the_curve() {
        let rule = PowerWarmup::new(0.75);
        let late = rule.with_start(3);
        assert_eq!([0, 1, 2, 3].map(|n| decay(late, n)), [0.0; 4]);
        assert_eq!(decay(late, 5), decay(rule, 2));
    }

    #[test]
    fn reaches_the_decays_that_timm_documents() {
        let reached = |power: f64, target: f64, at: u64| {
            let rule = PowerWarmup::new(power).with_max(1.0);
            (decay(rule, at) - target).abs() / (1.0 - target) < 5e-3
        };
        assert!(reached(2.0 / 3.0, 0.999, 31_600));
        assert!(reached(2.0 / 3.0, 0.9999, 1_000_000));
        assert!(reached(0.75, 0.999, 10_000));
        assert!(reached(0.75, 0.9999, 215_400));
    }
}
