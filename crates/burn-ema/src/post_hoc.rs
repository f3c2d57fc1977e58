//! Averages that were not kept, from those that were: post-hoc EMA.
//!
//! An average by a power function is known by two numbers, the time it was taken at and its exponent. Karras et
//! al. 2023 (arXiv:2312.02696, section 3 and appendix C) keep snapshots of a few such averages during a training,
//! and afterwards combine them into one of any other width: the combination of their profiles that is closest to
//! the wanted profile gives the weights with which the snapshots are summed.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn_ema::post_hoc::{PowerProfile, reconstruct};
//! use burn_ema::{Decay, EmaConfig, EmaSetConfig};
//!
//! let model = LinearConfig::new(2, 1).init(&Default::default());
//! let widths = [0.05, 0.10];
//! let mut averages = EmaSetConfig::new()
//!     .with("narrow", EmaConfig::new().with_decay(Decay::sigma_rel(widths[0])))
//!     .with("wide", EmaConfig::new().with_decay(Decay::sigma_rel(widths[1])))
//!     .init(&model);
//! let (mut profiles, mut snapshots) = (Vec::new(), Vec::new());
//! for step in 1..=80 {
//!     // Train, then:
//!     averages.update(&model)?;
//!     if step % 10 == 0 {
//!         for ((_, average), width) in averages.iter().zip(widths) {
//!             profiles.push(PowerProfile::new(step as f64, width)?);
//!             snapshots.push(average.full_precision_model()); // or save it, and load it later
//!         }
//!     }
//! }
//! let wanted = PowerProfile::new(80.0, 0.15)?;
//! let reconstruction = reconstruct(&profiles, wanted)?;
//! assert!(reconstruction.relative_error() < 0.05);
//! let model = reconstruction.model(snapshots)?;
//! # Ok::<(), burn_ema::EmaError>(())
//! ```

use burn::module::Module;
use nalgebra::{DMatrix, DVector};

use crate::policy::Class;
use crate::shadow::Shadow;
use crate::{EmaError, Policy, ShadowDType, gamma_of_sigma_rel, op};

/// The profile of a power function average: weights seen at time `tau` count as `tau^gamma` up to `time`, and
/// later ones not at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerProfile {
    /// When the average was taken: optimizer steps, images, or any other unit that is the same for all. Finite and
    /// positive.
    pub time: f64,
    /// The exponent, finite and at least 0. See [`PowerFunction`](crate::PowerFunction).
    pub gamma: f64,
}

impl PowerProfile {
    /// The profile of an average of relative width `sigma_rel` at `time`.
    ///
    /// # Errors
    ///
    /// If there is none of that width. The time is checked where the profile is used.
    pub fn new(time: f64, sigma_rel: f64) -> Result<Self, EmaError> {
        let gamma = gamma_of_sigma_rel(sigma_rel)?;
        Ok(Self { time, gamma })
    }

    /// The integral of the product of two profiles, each of which integrates to 1 (equation 151 of the paper).
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema::post_hoc::PowerProfile;
    ///
    /// // Two means: 1/1000 up to 1000, times 1/2000.
    /// let mean = |time| PowerProfile { time, gamma: 0.0 };
    /// assert!((mean(1000.0).inner_product(mean(2000.0)) - 5e-4).abs() < 1e-18);
    /// ```
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

    fn check(self) -> Result<(), EmaError> {
        let Self { time, gamma } = self;
        if time.is_finite() && time > 0.0 && gamma.is_finite() && gamma >= 0.0 {
            return Ok(());
        }
        refuse(format!(
            "a profile needs a finite time above 0 and a finite gamma of at least 0, found time {time}, gamma \
             {gamma}"
        ))
    }
}

/// How to combine stored averages into another one. Made by [`reconstruct`].
#[derive(Clone, Debug, PartialEq)]
pub struct Reconstruction {
    weights: Vec<f64>,
    normalized: Vec<f64>,
    relative_error: f64,
}

/// Finds the combination of stored averages whose profile is closest to that of `wanted` (algorithm 3 of the paper,
/// in f64).
///
/// # Errors
///
/// If there are no stored averages, two have the same profile, one is later than `wanted`, a profile is not valid,
/// or `wanted` is too far from all of them.
pub fn reconstruct(
    stored: &[PowerProfile],
    wanted: PowerProfile,
) -> Result<Reconstruction, EmaError> {
    wanted.check()?;
    if stored.is_empty() {
        return refuse("there are no stored averages".into());
    }
    for profile in stored {
        profile.check()?;
        if profile.time > wanted.time {
            return refuse(format!(
                "an average of time {} has seen weights from after {}: leave it out",
                profile.time, wanted.time
            ));
        }
    }
    let count = stored.len();
    let products = DMatrix::from_fn(count, count, |i, j| stored[i].inner_product(stored[j]));
    let with_wanted = DVector::from_fn(count, |i, _| stored[i].inner_product(wanted));
    let solution = products.clone().lu().solve(&with_wanted);
    let Some(weights) = solution.filter(|weights| weights.iter().all(|x| x.is_finite())) else {
        return refuse("two stored averages have the same profile: leave one out".into());
    };
    let sum = weights.sum();
    if sum.abs() < 1e-3 {
        return refuse(format!(
            "the wanted profile has nothing in common with the stored ones: their weights sum to {sum}"
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
    /// The weight of each stored average, in their order, by the paper's algorithm. They do not sum to 1 where the
    /// wanted profile is wider than the stored ones together.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The weights divided by their sum, as EDM2 uses them, and [`model`](Self::model): what does not change in
    /// training then stays.
    pub fn normalized(&self) -> &[f64] {
        &self.normalized
    }

    /// How far the profile of [`normalized`](Self::normalized) weights is from the wanted one, relative to its length:
    /// 0 is exact. Above about 0.1, store more averages, or wider ones.
    pub fn relative_error(&self) -> f64 {
        self.relative_error
    }

    /// Combines the stored averages, given in the order of their profiles, with [`normalized`](Self::normalized)
    /// weights. They are taken one by one, so they can be loaded on the way.
    ///
    /// Trainable parameters are combined, in at least f32; everything else is that of the last one.
    ///
    /// # Errors
    ///
    /// If there are not as many models as weights, or they differ in structure.
    pub fn model<M: Module>(&self, models: impl IntoIterator<Item = M>) -> Result<M, EmaError> {
        let weights = &self.normalized;
        let mut combined: Option<Shadow<M>> = None;
        let mut count = 0;
        for model in models {
            let Some(weight) = weights.get(count).copied() else {
                return refuse(format!("there are more models than the {count} weights"));
            };
            count += 1;
            let mut shadow = match combined.take() {
                Some(shadow) => shadow,
                None => Shadow::new(&model, ShadowDType::Wide, &Policy::new(), None)?,
            };
            for (slot, source) in shadow.collect(&model)?.into_iter().enumerate() {
                let value = shadow.conformed(slot, source.value);
                match source.class {
                    Class::Trainable if count == 1 => {
                        shadow.copy(slot, op::scale(value, weight));
                    }
                    Class::Trainable => {
                        // Models may have been loaded onto different devices.
                        let (device, dtype) = (op::device(&value), value.dtype());
                        let sum = shadow.slots()[slot].value().clone();
                        let sum = op::conform(sum, &device, dtype);
                        shadow.copy(slot, op::add(sum, op::scale(value, weight)));
                    }
                    Class::NonTrainable | Class::Discrete => shadow.copy(slot, value),
                }
            }
            combined = Some(shadow);
        }
        match combined.filter(|_| count == weights.len()) {
            Some(shadow) => Ok(shadow.model()),
            None => refuse(format!(
                "there are {count} models for {} weights",
                weights.len()
            )),
        }
    }
}

fn refuse<T>(problem: String) -> Result<T, EmaError> {
    Err(EmaError::Reconstruction { problem })
}
