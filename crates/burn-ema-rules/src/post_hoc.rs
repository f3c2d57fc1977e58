//! Post-hoc EMA: the weights that combine stored EMA snapshots into an EMA of another width.
//!
//! A power function EMA is known by two numbers: the time of the snapshot and the exponent. Karras et al. 2023
//! (arXiv:2312.02696, section 3 and appendix C) store snapshots of a few such EMAs during a run. After the run, the
//! combination of their profiles that is closest to the profile of any other width gives the weights with which the
//! snapshots are summed. This module computes the weights; `burn-ema` sums the tensors.
//!
//! ```
//! use burn_ema_rules::post_hoc::{PowerProfile, reconstruct};
//!
//! // Snapshots every 10 steps of two EMAs, of widths 0.05 and 0.10.
//! let mut stored = Vec::new();
//! for step in (10..=80).step_by(10) {
//!     for width in [0.05, 0.10] {
//!         stored.push(PowerProfile::new(f64::from(step), width)?);
//!     }
//! }
//! let reconstruction = reconstruct(&stored, PowerProfile::new(80.0, 0.15)?)?;
//! assert_eq!(reconstruction.normalized().len(), 16);
//! assert!(reconstruction.relative_error() < 0.05);
//! # Ok::<(), burn_ema_rules::RulesError>(())
//! ```

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::decay::power_function::gamma_of_sigma_rel;
use crate::error::RulesError;

/// The profile of a power function EMA: weights of time `tau` count as `tau^gamma` up to `time`, and later weights do
/// not count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerProfile {
    /// The time of the snapshot: optimizer steps, images, or another unit that is the same for all profiles. Finite and
    /// positive.
    ///
    /// Time counts from the start of averaging. With an update schedule whose `start` is above 0, the time of a snapshot
    /// at optimizer step `step` is `step - start`: the number of steps since averaging started.
    pub time: f64,
    /// The exponent, finite and at least 0. See [`PowerFunction`](crate::decay::PowerFunction).
    pub gamma: f64,
}

impl PowerProfile {
    /// Makes the profile of an EMA of relative width `sigma_rel` at `time`, which counts from the start of
    /// [averaging](Self::time).
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidDecay`] if `sigma_rel` is not above 0 and below `1/sqrt(12)`, about 0.2887. The time is
    /// checked by [`reconstruct`].
    pub fn new(time: f64, sigma_rel: f64) -> Result<Self, RulesError> {
        let gamma = gamma_of_sigma_rel(sigma_rel)?;
        Ok(Self { time, gamma })
    }

    /// The integral of the product of two profiles, each of which integrates to 1 (equation 151 of the paper).
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::post_hoc::PowerProfile;
    ///
    /// // Two means: 1/1000 up to 1000, times 1/2000.
    /// let mean = |time| PowerProfile { time, gamma: 0.0 };
    /// assert!((mean(1000.0).inner_product(mean(2000.0)) - 5e-4).abs() < 1e-18);
    /// ```
    #[must_use]
    pub fn inner_product(self, other: Self) -> f64 {
        let ratio = self.time / other.time;
        let exponent = match self.time < other.time {
            true => other.gamma,
            false => -self.gamma,
        };
        let scale = (self.gamma + 1.0) * (other.gamma + 1.0);
        let length = (self.gamma + other.gamma + 1.0) * self.time.max(other.time);
        scale * ratio.powf(exponent) / length
    }

    fn check(self) -> Result<(), RulesError> {
        let Self { time, gamma } = self;
        if time.is_finite() && time > 0.0 && gamma.is_finite() && gamma >= 0.0 {
            return Ok(());
        }
        invalid(format!(
            "a profile needs a finite time above 0 and a finite gamma of at least 0, found time {time} and gamma {gamma}"
        ))
    }
}

/// The weights that combine stored EMA snapshots into another EMA. Made by [`reconstruct`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconstruction {
    weights: Vec<f64>,
    normalized: Vec<f64>,
    relative_error: f64,
}

/// Finds the combination of stored EMA snapshots whose profile is closest to the profile `wanted` (algorithm 3 of the
/// paper, in f64).
///
/// # Errors
///
/// [`RulesError::Reconstruction`] if `stored` is empty, two stored profiles are equal, a stored profile is later than
/// `wanted`, a time or an exponent is out of its range, or the stored profiles have nothing in common with `wanted`.
pub fn reconstruct(
    stored: &[PowerProfile],
    wanted: PowerProfile,
) -> Result<Reconstruction, RulesError> {
    wanted.check()?;
    if stored.is_empty() {
        return invalid("there are no stored EMAs: give at least one profile".into());
    }
    for profile in stored {
        profile.check()?;
        if profile.time > wanted.time {
            return invalid(format!(
                "the EMA of time {} has seen weights from after {}: leave it out",
                profile.time, wanted.time
            ));
        }
    }
    let count = stored.len();
    let products = DMatrix::from_fn(count, count, |i, j| stored[i].inner_product(stored[j]));
    let with_wanted = DVector::from_fn(count, |i, _| stored[i].inner_product(wanted));
    let solution = products.clone().lu().solve(&with_wanted);
    let Some(weights) = solution.filter(|weights| weights.iter().all(|x| x.is_finite())) else {
        return invalid("two stored EMAs have the same profile: leave one out".into());
    };
    let sum = weights.sum();
    if sum.abs() < 1e-3 {
        return invalid(format!(
            "the stored EMAs have nothing in common with the wanted profile, and their weights sum to {sum}: ask for \
             an earlier time or a wider profile"
        ));
    }
    let normalized = &weights / sum;
    let square = wanted.inner_product(wanted);
    let cross = normalized.dot(&with_wanted);
    let error = square - 2.0 * cross + (normalized.transpose() * products * &normalized)[0];
    Ok(Reconstruction {
        weights: weights.iter().copied().collect(),
        normalized: normalized.iter().copied().collect(),
        relative_error: (error.max(0.0) / square).sqrt(),
    })
}

impl Reconstruction {
    /// The weight of each stored EMA, in the order of the profiles, by the algorithm of the paper. The sum is below 1
    /// where the wanted profile is wider than the stored profiles together.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The weights divided by their sum, as EDM2 uses them. With these, parameters that do not change during the run do
    /// not change in the combination.
    #[must_use]
    pub fn normalized(&self) -> &[f64] {
        &self.normalized
    }

    /// The distance of the profile of the [`normalized`](Self::normalized) weights from the wanted profile, relative to
    /// the norm of the wanted profile, in exact arithmetic: 0 is exact. Above about 0.1, store more snapshots, or wider
    /// EMAs. The rounding of the snapshots is not part of it: see [`noise_gain`](Self::noise_gain).
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        self.relative_error
    }

    /// How much the combination amplifies the rounding of the snapshots: the sum of the absolute
    /// [`normalized`](Self::normalized) weights, at least 1.
    ///
    /// Snapshots that are rounded to a relative precision `epsilon` (2^-24 for f32, 2^-9 for bf16) give parameters that are
    /// off by up to `noise_gain * epsilon` of the size of the parameters. Many stored EMAs of similar widths give large
    /// gains.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::post_hoc::{PowerProfile, reconstruct};
    ///
    /// let profile = |time, width| PowerProfile::new(time, width);
    /// // EDM2's two widths, and eight close ones.
    /// let two = [profile(1000.0, 0.05)?, profile(1000.0, 0.10)?];
    /// let eight: Vec<_> = (5..13).map(|i| profile(1000.0, f64::from(i) / 100.0)).collect::<Result<_, _>>()?;
    /// let gain = |stored: &[PowerProfile]| -> Result<f64, burn_ema_rules::RulesError> {
    ///     Ok(reconstruct(stored, profile(1000.0, 0.2)?)?.noise_gain())
    /// };
    /// assert!(gain(&two)? < 10.0);
    /// assert!(gain(&eight)? > 1e4);
    /// # Ok::<(), burn_ema_rules::RulesError>(())
    /// ```
    #[must_use]
    pub fn noise_gain(&self) -> f64 {
        self.normalized.iter().map(|weight| weight.abs()).sum()
    }
}

fn invalid<T>(problem: String) -> Result<T, RulesError> {
    Err(RulesError::Reconstruction { problem })
}
