//! StyleGAN's ramp-up: a half-life in images that grows with the number of images seen.

use serde::{Deserialize, Serialize};

use crate::decay::checks::{Checks, valid};
use crate::decay::clock::{Clock, Ticks};
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Ramp-up of StyleGAN (`ema_kimg`, `ema_rampup`): a half-life in images that grows with the images seen,
/// `decay = 2^(-images per update / min(half_life_images, ramp_up * images seen))`.
///
/// Early in a run the EMA forgets within a fixed share of the images seen, later within `half_life_images` images.
/// `images seen` is `batch_size` times the count of the [`clock`](Clock). By default the clock counts the optimizer steps
/// since the start without the steps of this update, as StyleGAN 2 and 3 do, so the first update is a copy. With a clock
/// in steps an update covers `batch_size * interval` images, so the half-life does not depend on the interval.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, ImageRampUp, Progress};
///
/// // `ema_kimg=10`, `ema_rampup=0.05`, batches of 32.
/// let ramp = ImageRampUp::from_kimg(10.0, Some(0.05), 32);
/// assert_eq!(ramp.half_life_images, Some(10_000.0));
/// let decay = |updates| ramp.decay(Progress { updates, interval: 1 });
/// assert_eq!(decay(0), 0.0);
/// assert_eq!(decay(1), 0.5_f64.powi(20)); // 32 images at a half-life of 1.6
/// assert_eq!(decay(1_000_000), 0.5_f64.powf(32.0 / 10_000.0));
/// ```
#[doc(alias = "ema_kimg")]
#[doc(alias = "ema_rampup")]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRampUp {
    /// Half-life at the end of the ramp, in images (not thousands of images), finite and positive. `None`: the ramp has no
    /// end.
    pub half_life_images: Option<f64>,
    /// Half-life on the ramp, as a share of the images seen, finite and positive. `None`: no ramp, and the half-life is
    /// `half_life_images` from the first update on.
    pub ramp_up: Option<f64>,
    /// Number of images in an optimizer step, over all devices, at least 1.
    pub batch_size: u64,
    /// What is multiplied by `batch_size` to give the images seen.
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
    /// Makes a ramp to a half-life of `half_life_images` images.
    ///
    /// # Panics
    ///
    /// Panics if `half_life_images` or `ramp_up` is not finite and positive, or `batch_size` is 0.
    #[must_use]
    #[track_caller]
    pub fn from_images(half_life_images: f64, ramp_up: Option<f64>, batch_size: u64) -> Self {
        valid(Self {
            half_life_images: Some(half_life_images),
            ramp_up,
            batch_size,
            clock: before_this_update(),
        })
    }

    /// Makes a ramp to a half-life of `half_life_kimg` **thousands** of images: 1,000 times
    /// [`from_images`](Self::from_images).
    ///
    /// # Panics
    ///
    /// Panics if `half_life_kimg` or `ramp_up` is not finite and positive, or `batch_size` is 0.
    #[must_use]
    #[track_caller]
    pub fn from_kimg(half_life_kimg: f64, ramp_up: Option<f64>, batch_size: u64) -> Self {
        Self::from_images(half_life_kimg * 1000.0, ramp_up, batch_size)
    }
}

impl DecaySchedule for ImageRampUp {
    fn decay(&self, at: Progress) -> f64 {
        let batch = self.batch_size as f64;
        let seen = batch * self.clock.read(at);
        let on_the_ramp = self.ramp_up.map_or(f64::INFINITY, |share| share * seen);
        let half_life = self.half_life_images.unwrap_or(f64::INFINITY);
        let half_life = half_life.min(on_the_ramp);
        let images = match self.clock.ticks {
            Ticks::Updates => batch,
            Ticks::Steps => batch * at.interval as f64,
        };
        // Before the first image the half-life is 0, and the exponent minus infinity: a copy.
        (-images / half_life).exp2()
    }

    fn validate(&self) -> Result<(), RulesError> {
        let half_life = match (self.half_life_images, self.ramp_up) {
            (None, None) => f64::INFINITY,
            (half_life, _) => half_life.unwrap_or(1.0),
        };
        Checks::of("ImageRampUp")
            .positive("half_life_images", half_life)
            .positive("ramp_up", self.ramp_up.unwrap_or(1.0))
            .positive("batch_size", self.batch_size as f64)
            .done()
    }
}
