//! Power warm-up: the memory of the EMA grows as a power of the number of updates.

use serde::{Deserialize, Serialize};

use crate::decay::checks::{Checks, or_panic, valid};
use crate::decay::clock::Clock;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Warm-up of timm's `ModelEmaV3`, ema-pytorch and diffusers: `decay = clamp(1 - (1 + s / inv_gamma)^-power, min, max)`,
/// and a copy at `s = 0`.
///
/// The memory of the EMA grows during the run, and no trace of the initial weights is left. `s` is read from the
/// [`clock`](Clock): by default `s` is the number of updates before this update, so the first update is a copy. With
/// `inv_gamma = 1`, `power = 2/3` reaches 0.999 after 31,600 updates and 0.9999 after 1,000,000; `power = 3/4` reaches
/// them after 10,000 and 215,400.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{Decay, DecaySchedule, PowerWarmup, Progress};
///
/// let decay: Decay = PowerWarmup::new(0.75).with_max(0.9995).into();
/// let at = |updates| decay.decay(Progress { updates, interval: 1 });
/// assert_eq!([at(0), at(15), at(1_000_000)], [0.0, 0.875, 0.9995]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerWarmup {
    /// Exponent, finite and positive.
    pub power: f64,
    /// Stretches the curve: the count at which `1 + s / inv_gamma` is 2. Finite and positive.
    pub inv_gamma: f64,
    /// Lower bound of the decay of all updates that are not copies, in `[0, max]`.
    pub min: f64,
    /// Upper bound of the decay, in `[min, 1]`. [`with_max`](Self::with_max) accepts `[0.5, 1]`.
    pub max: f64,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

impl PowerWarmup {
    /// Makes a warm-up with the exponent `power`, `inv_gamma = 1` and a decay in `[0, 0.9999]`.
    ///
    /// # Panics
    ///
    /// Panics if `power` is not finite and positive.
    #[must_use]
    #[track_caller]
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
    /// Panics if `inv_gamma` is not finite and positive.
    #[must_use]
    #[track_caller]
    pub fn with_inv_gamma(mut self, inv_gamma: f64) -> Self {
        self.inv_gamma = inv_gamma;
        valid(self)
    }

    /// Sets the lower bound of the decay.
    ///
    /// # Panics
    ///
    /// Panics if `min` is not between 0 and the upper bound.
    #[must_use]
    #[track_caller]
    pub fn with_min(mut self, min: f64) -> Self {
        self.min = min;
        valid(self)
    }

    /// Sets the upper bound of the decay.
    ///
    /// # Panics
    ///
    /// Panics if `max` is not in `[0.5, 1]`, or is below the lower bound.
    #[must_use]
    #[track_caller]
    pub fn with_max(mut self, max: f64) -> Self {
        self.max = max;
        or_panic(Checks::of("PowerWarmup").usual_decay("max", max).done());
        valid(self)
    }

    /// Copies at `start` more updates before the curve begins: `update_after_step` of timm, ema-pytorch and diffusers.
    /// Sets the offset of the [clock](Self::with_clock).
    #[must_use]
    #[doc(alias = "update_after_step")]
    pub fn with_start(mut self, start: u32) -> Self {
        self.clock.offset = -i64::from(start);
        self
    }

    /// Sets what `s` counts.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

impl DecaySchedule for PowerWarmup {
    fn decay(&self, at: Progress) -> f64 {
        match self.clock.read(at) {
            0.0 => 0.0,
            s => (1.0 - (1.0 + s / self.inv_gamma).powf(-self.power))
                .max(self.min)
                .min(self.max),
        }
    }

    fn validate(&self) -> Result<(), RulesError> {
        let min_holds = (0.0..=self.max).contains(&self.min);
        Checks::of("PowerWarmup")
            .positive("power", self.power)
            .positive("inv_gamma", self.inv_gamma)
            .share("max", self.max)
            .that(min_holds, "min", "in [0, max]", self.min)
            .warn_of_weight("max", self.max)
            .done()
    }
}
