//! YOLO's warm-up.

use serde::{Deserialize, Serialize};

use crate::decay::checks::{Checks, or_panic, valid};
use crate::decay::clock::Clock;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Warm-up of YOLOv5 and ultralytics: `decay = max * (1 - exp(-s / tau))`.
///
/// The decay reaches 63% of `max` after `tau` updates and 99% after `4.6 tau`. `s` is read from the [`clock`](Clock): by
/// default `s` is the number of updates before this update, so the first update is a copy. YOLO counts from 1.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, ExponentialWarmup, Progress};
///
/// let warmup = ExponentialWarmup::new(0.9999, 2000.0);
/// let decay = |updates| warmup.decay(Progress { updates, interval: 1 });
/// assert_eq!(decay(0), 0.0);
/// assert!((decay(2000) - 0.9999 * 0.6321205588).abs() < 1e-10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExponentialWarmup {
    /// The limit of the decay, in `[0, 1]`. [`new`](Self::new) accepts `[0.5, 1]`.
    pub max: f64,
    /// Number of updates (of what the clock counts) in which the distance to `max` falls to `1/e`, finite and positive.
    pub tau: f64,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

impl ExponentialWarmup {
    /// Makes a warm-up to `max` with time constant `tau`.
    ///
    /// # Panics
    ///
    /// Panics if `max` is not in `[0.5, 1]`, or `tau` is not finite and positive.
    #[must_use]
    #[track_caller]
    pub fn new(max: f64, tau: f64) -> Self {
        let checks = Checks::of("ExponentialWarmup");
        or_panic(checks.usual_decay("max", max).done());
        valid(Self {
            max,
            tau,
            clock: Clock::default(),
        })
    }
}

impl DecaySchedule for ExponentialWarmup {
    fn decay(&self, at: Progress) -> f64 {
        self.max * -(-self.clock.read(at) / self.tau).exp_m1()
    }

    fn validate(&self) -> Result<(), RulesError> {
        Checks::of("ExponentialWarmup")
            .share("max", self.max)
            .positive("tau", self.tau)
            .warn_of_weight("max", self.max)
            .done()
    }
}
