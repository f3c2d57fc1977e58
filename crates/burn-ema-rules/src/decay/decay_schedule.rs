//! The trait of all decay schedules.

use crate::decay::progress::Progress;
use crate::error::RulesError;

/// The most updates whose decays [`DecaySchedule::retained`] multiplies one by one.
pub(crate) const SAMPLES: u64 = 1 << 16;

/// 1 minus this is 1.
const NOTHING: f64 = f64::EPSILON / 4096.0;

/// A decay schedule: the share of the old EMA that an update keeps, as a function of [`Progress`].
///
/// Implement this trait for a schedule of your own and pass the schedule to
/// [`Decay::custom`](crate::decay::Decay::custom). A closure from [`Progress`] to `f64` implements the trait.
///
/// # Example
///
/// ```
/// use burn_ema_rules::RulesError;
/// use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
///
/// /// The weight of the new weights halves every `updates` updates.
/// struct Staircase {
///     updates: u64,
/// }
///
/// impl DecaySchedule for Staircase {
///     fn decay(&self, at: Progress) -> f64 {
///         1.0 - 0.5_f64.powf(1.0 + (at.updates / self.updates) as f64)
///     }
///
///     fn validate(&self) -> Result<(), RulesError> {
///         match self.updates {
///             0 => Err(RulesError::InvalidConfig {
///                 field: "decay",
///                 problem: "Staircase: updates is 0: write at least 1".into(),
///             }),
///             _ => Ok(()),
///         }
///     }
/// }
///
/// let decay = Decay::custom("staircase", Staircase { updates: 100 });
/// assert_eq!(decay.decay(Progress { updates: 250, interval: 1 }), 0.875);
/// assert!(Decay::custom("staircase", Staircase { updates: 0 }).validate().is_err());
/// ```
pub trait DecaySchedule {
    /// The decay of the update at `at`, in `[0, 1]`: the share of the old EMA that the update keeps. With a decay of 0
    /// the EMA becomes a copy of the online weights.
    ///
    /// Must depend on `at` and the fields only, and not on earlier calls.
    fn decay(&self, at: Progress) -> f64;

    /// Checks the numbers of the schedule. The default implementation accepts all.
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidDecay`] for the first number outside its range: the error names the number, the range, and
    /// what was probably meant.
    fn validate(&self) -> Result<(), RulesError> {
        Ok(())
    }

    /// The share of the EMA that is left after `updates` updates from `from` on: the product of their decays.
    ///
    /// The default implementation multiplies the decays one by one until nothing is left, up to 65,536 updates. Beyond,
    /// the product is approximated from 65,536 samples. The result is NaN if one of the decays that were looked at is
    /// outside `[0, 1]`. Override this method where the product has a closed form.
    fn retained(&self, from: Progress, updates: u64) -> f64 {
        if updates <= SAMPLES {
            let decays = (0..updates).map(|n| self.decay(from.later(n)));
            return multiply(1.0, decays);
        }
        let stride = updates as f64 / SAMPLES as f64;
        let mut logarithm = 0.0;
        for k in 0..SAMPLES {
            let sample = ((k as f64 + 0.5) * stride) as u64;
            let decay = self.decay(from.later(sample));
            if !is_share(decay) {
                return f64::NAN;
            }
            logarithm += stride * decay.ln();
        }
        logarithm.exp()
    }
}

/// Multiplies `product` by `decays` until nothing is left, which is 0. NaN if one is outside `[0, 1]`, so that the others
/// do not hide it.
pub(crate) fn multiply(mut product: f64, decays: impl Iterator<Item = f64>) -> f64 {
    for decay in decays {
        if !is_share(decay) {
            return f64::NAN;
        }
        product *= decay;
        if product < NOTHING {
            return 0.0;
        }
    }
    product
}

pub(crate) fn is_share(decay: f64) -> bool {
    (0.0..=1.0).contains(&decay)
}

impl<F: Fn(Progress) -> f64> DecaySchedule for F {
    fn decay(&self, at: Progress) -> f64 {
        self(at)
    }
}
