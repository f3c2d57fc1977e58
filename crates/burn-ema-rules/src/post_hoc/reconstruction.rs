//! What a combination is, and how good it is.

use nalgebra::DVector;
use serde::{Deserialize, Serialize};

use crate::error::RulesError;

/// The weights that combine stored snapshots into another average. Made by [`reconstruct`](crate::post_hoc::reconstruct) and
/// [`reconstruct_profiles`](crate::post_hoc::reconstruct_profiles).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconstruction {
    pub(super) weights: Vec<f64>,
    pub(super) normalized: Vec<f64>,
    pub(super) relative_error: f64,
    pub(super) change_error: f64,
}

impl Reconstruction {
    /// The weight of each stored average, in the order of the profiles, before it is divided by their sum. By the algorithm of
    /// the paper the sum is below 1 where the wanted profile is wider than the stored profiles together.
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

    /// The part of the way from the last model to the wanted average that the combination with the
    /// [`normalized`](Self::normalized) weights misses, if the changes of different steps are independent: 0 is exact, and 1
    /// is as far away as the last model. Infinite if the wanted average is the last model itself and the combination differs
    /// from it.
    #[must_use]
    pub fn change_error(&self) -> f64 {
        self.change_error
    }

    /// How far rounding of the snapshots to a relative `precision` may change the parameters, relative to their size:
    /// [`noise_gain`](Self::noise_gain) times the precision, which is 2^-24 for f32, 2^-8 for bf16 and 2^-11 for f16.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::post_hoc::{PowerProfile, reconstruct};
    ///
    /// let stored = [PowerProfile::new(50.0, 0.05)?, PowerProfile::new(100.0, 0.05)?];
    /// let found = reconstruct(&stored, PowerProfile::new(100.0, 0.08)?)?;
    /// assert_eq!(found.noise(0.001), 0.001 * found.noise_gain());
    /// # Ok::<(), burn_ema_rules::RulesError>(())
    /// ```
    #[must_use]
    pub fn noise(&self, precision: f64) -> f64 {
        self.noise_gain() * precision
    }

    /// How much the combination amplifies the rounding of the snapshots: the sum of the absolute
    /// [`normalized`](Self::normalized) weights, at least 1.
    ///
    /// Snapshots that are rounded to a relative precision `epsilon` (2^-24 for f32, 2^-8 for bf16) give parameters that are
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

/// Weights as they were found, and divided by their sum.
pub(super) fn normalized(
    weights: DVector<f64>,
) -> Result<(DVector<f64>, DVector<f64>), RulesError> {
    let sum = weights.sum();
    // Written so that NaN is one, too.
    match sum.abs() >= 1e-3 {
        true => Ok((weights.clone(), weights / sum)),
        false => invalid(format!(
            "the stored averages have nothing in common with the wanted profile, and their weights sum to {sum}: ask for \
             an earlier time or a wider profile"
        )),
    }
}

pub(super) fn invalid<T>(problem: String) -> Result<T, RulesError> {
    Err(RulesError::Reconstruction { problem })
}
