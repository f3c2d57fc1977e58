//! YOLO's warm-up.

use serde::{Deserialize, Serialize};

use super::check::valid;
use super::{Checks, Clock, Decay, Moment, Rule};
use crate::EmaError;

/// `decay = max * (1 - exp(-s / tau))`: the warm-up of YOLOv5 and ultralytics.
///
/// It nears `max` like a charging capacitor: 63 % of it after `tau` updates, 99 % after `4.6 tau`. `s` is read
/// from the [`clock`](Clock): by default the number of averages before this one, so the first is a copy; YOLO
/// counts from 1.
///
/// # Example
///
/// ```
/// use burn_ema::{ExponentialWarmup, Moment, Rule};
///
/// let rule = ExponentialWarmup::new(0.9999, 2000.0);
/// let decay = |updates| rule.decay(Moment { updates, interval: 1 });
/// assert_eq!(decay(0), 0.0);
/// assert!((decay(2000) - 0.9999 * 0.6321205588).abs() < 1e-10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExponentialWarmup {
    /// The decay that it tends to, in `[0.5, 1]`.
    pub max: f64,
    /// Number of updates (of what the clock counts) in which the distance to `max` falls to `1/e`, finite and positive.
    pub tau: f64,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

impl ExponentialWarmup {
    /// A warm-up to `max` with time constant `tau`.
    ///
    /// # Panics
    ///
    /// If a number is out of its range.
    pub fn new(max: f64, tau: f64) -> Self {
        valid(Self {
            max,
            tau,
            clock: Clock::default(),
        })
    }
}

impl From<ExponentialWarmup> for Decay {
    fn from(rule: ExponentialWarmup) -> Self {
        Self::ExponentialWarmup(rule)
    }
}

impl Rule for ExponentialWarmup {
    fn decay(&self, at: Moment) -> f64 {
        self.max * -(-self.clock.read(at) / self.tau).exp_m1()
    }

    fn validate(&self) -> Result<(), EmaError> {
        Checks::of("ExponentialWarmup")
            .decay("max", self.max)
            .positive("tau", self.tau)
            .done()
    }
}
