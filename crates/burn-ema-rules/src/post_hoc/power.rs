//! Power function EMAs, by the formulas of Karras et al.

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::decay::power_function::gamma_of_sigma_rel;
use crate::error::RulesError;
use crate::post_hoc::reconstruction::{Reconstruction, invalid, normalized};

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

    /// The integral of the product of the shares that two averages have of each change.
    fn shared_way(self, other: Self) -> f64 {
        let time = self.time.min(other.time);
        let exponents = [self, other].map(|profile| profile.gamma + 1.0);
        let [a, b] = exponents;
        let at = |profile: Self| (time / profile.time).powf(profile.gamma + 1.0);
        let [of_a, of_b] = [at(self), at(other)];
        time * (1.0 - of_a / (a + 1.0) - of_b / (b + 1.0) + of_a * of_b / (a + b + 1.0))
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
    let (weights, normalized) = normalized(weights)?;
    let square = wanted.inner_product(wanted);
    let error = distance(&normalized, &products, &with_wanted, square);
    let products = DMatrix::from_fn(count, count, |i, j| stored[i].shared_way(stored[j]));
    let with_wanted = DVector::from_fn(count, |i, _| stored[i].shared_way(wanted));
    let of_wanted = wanted.shared_way(wanted);
    // The integral of the square of what the wanted average lacks of each change.
    let way = wanted.time / (2.0 * wanted.gamma + 3.0);
    let change_error = distance(&normalized, &products, &with_wanted, of_wanted);
    Ok(Reconstruction {
        weights: weights.iter().copied().collect(),
        normalized: normalized.iter().copied().collect(),
        relative_error: (error / square).sqrt(),
        change_error: (change_error / way).sqrt(),
    })
}

/// The square of the distance between a combination and what is wanted, by products of what is combined.
fn distance(
    weights: &DVector<f64>,
    products: &DMatrix<f64>,
    with_wanted: &DVector<f64>,
    of_wanted: f64,
) -> f64 {
    let of_combination = (weights.transpose() * products * weights)[0];
    (of_wanted - 2.0 * weights.dot(with_wanted) + of_combination).max(0.0)
}
