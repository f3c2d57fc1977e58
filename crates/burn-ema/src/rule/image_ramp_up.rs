//! StyleGAN's ramp-up: a half-life in images that grows with the number of images seen.

use serde::{Deserialize, Serialize};

use super::check::valid;
use super::{Checks, Clock, Decay, Moment, Rule, Ticks};
use crate::EmaError;

/// `decay = 2^(-images per update / min(half_life, ramp_up * images seen))`: StyleGAN's `ema_kimg` and
/// `ema_rampup`.
///
/// Early in training the average forgets within a fixed share of what it has seen, later within
/// `half_life` images. `images seen` is `batch_size` times what the [`clock`](Clock) shows, which by default is
/// the number of optimizer steps since the start without those of this average, as in StyleGAN 2 and 3, so
/// that the first average is a copy. An update with a clock in steps covers `batch_size * interval` images, so
/// the half-life does not change with the interval.
///
/// # Example
///
/// ```
/// use burn_ema::{ImageRampUp, Moment, Rule};
///
/// // `ema_kimg=10`, `ema_rampup=0.05`, batches of 32.
/// let rule = ImageRampUp::new(10.0, Some(0.05), 32);
/// let decay = |updates| rule.decay(Moment { updates, interval: 1 });
/// assert_eq!(decay(0), 0.0);
/// assert_eq!(decay(1), 0.5_f64.powi(20)); // 32 images at a half-life of 1.6
/// assert_eq!(decay(1_000_000), 0.5_f64.powf(32.0 / 10_000.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRampUp {
    /// Half-life at the end of the ramp, in images, finite and positive. `None`: the ramp has no end.
    pub half_life: Option<f64>,
    /// Half-life on the ramp, as a share of the images seen, finite and positive. `None`: no ramp, and so a half-life
    /// from the start.
    pub ramp_up: Option<f64>,
    /// Number of images in a step of the optimizer, over all devices, at least 1.
    pub batch_size: u64,
    /// What is multiplied with `batch_size` to give the images seen.
    #[serde(default = "before_this_update")]
    pub clock: Clock,
}

fn before_this_update() -> Clock {
    Clock {
        ticks: Ticks::Steps,
        inclusive: false,
        offset: 0,
    }
}

impl ImageRampUp {
    /// A ramp to a half-life of `kimg` thousand images.
    ///
    /// # Panics
    ///
    /// If a number is out of its range.
    pub fn new(kimg: f64, ramp_up: Option<f64>, batch_size: u64) -> Self {
        valid(Self {
            half_life: Some(kimg * 1000.0),
            ramp_up,
            batch_size,
            clock: before_this_update(),
        })
    }
}

impl From<ImageRampUp> for Decay {
    fn from(rule: ImageRampUp) -> Self {
        Self::ImageRampUp(rule)
    }
}

impl Rule for ImageRampUp {
    fn decay(&self, at: Moment) -> f64 {
        let batch = self.batch_size as f64;
        let seen = batch * self.clock.read(at);
        let on_the_ramp = self.ramp_up.map_or(f64::INFINITY, |share| share * seen);
        let half_life = self.half_life.unwrap_or(f64::INFINITY).min(on_the_ramp);
        let images = match self.clock.ticks {
            Ticks::Updates => batch,
            Ticks::Steps => batch * at.interval as f64,
        };
        // Before the first image the half-life is 0, and the exponent minus infinity: a copy.
        (-images / half_life).exp2()
    }

    fn validate(&self) -> Result<(), EmaError> {
        let half_life = match (self.half_life, self.ramp_up) {
            (None, None) => f64::INFINITY,
            (half_life, _) => half_life.unwrap_or(1.0),
        };
        Checks::of("ImageRampUp")
            .positive("half_life", half_life)
            .positive("ramp_up", self.ramp_up.unwrap_or(1.0))
            .positive("batch_size", self.batch_size as f64)
            .done()
    }
}
