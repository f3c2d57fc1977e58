//! Decay rules: how much of the old average an update keeps, as pure functions of counters.
//!
//! Nothing in here knows of tensors. A new rule is a file with a struct that implements [`Rule`],
//! and a variant of [`Decay`].

mod annealing;
mod check;
mod clock;
mod constant;
mod copy_first;
mod custom;
mod debiased;
mod decay;
mod equal_weights;
mod exponential_warmup;
mod half_life;
mod image_ramp_up;
mod linear_warmup;
mod per_step;
mod power_function;
mod power_warmup;
mod tf_ramp;
mod weight;

pub use annealing::Annealing;
pub(crate) use check::Checks;
pub use clock::{Clock, Ticks};
pub use constant::Constant;
pub use copy_first::CopyFirst;
pub use custom::Custom;
pub use debiased::Debiased;
pub use decay::Decay;
pub use equal_weights::EqualWeights;
pub use exponential_warmup::ExponentialWarmup;
pub use half_life::HalfLife;
pub use image_ramp_up::ImageRampUp;
pub use linear_warmup::LinearWarmup;
pub use per_step::PerStep;
pub use power_function::{PowerFunction, gamma_of_sigma_rel, sigma_rel_of_gamma};
pub use power_warmup::PowerWarmup;
pub use tf_ramp::TfRamp;
pub use weight::Weight;

use crate::EmaError;

/// Where an average stands when its rule is asked for a decay.
///
/// Nothing else goes into a decay, so a run that is resumed from its counters goes on bit for bit, and
/// what a rule does can be [read from its configuration](crate::Profile).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Averages taken before this one: 0 for the first. Copies before the start do not count.
    pub updates: u64,
    /// Optimizer steps from one average to the next, i.e. the interval.
    pub interval: u64,
}

impl Moment {
    /// Optimizer steps from the start of averaging to this average, this one included.
    pub fn steps(&self) -> u64 {
        self.updates.saturating_add(1).saturating_mul(self.interval)
    }

    /// The moment `updates` averages later.
    pub(crate) fn later(self, updates: u64) -> Self {
        Self {
            updates: self.updates.saturating_add(updates),
            ..self
        }
    }
}

/// How much of the old average an update keeps.
///
/// A function of a [`Moment`] is a rule, too: see [`Decay::custom`].
pub trait Rule {
    /// The decay of the average that is due, in `[0, 1]`: the share of the old average that stays.
    /// At 0 the average becomes a copy of the source.
    fn decay(&self, at: Moment) -> f64;

    /// Checks the numbers of the rule. By default there is nothing to check.
    ///
    /// # Errors
    ///
    /// [`EmaError::InvalidDecay`], which names the number, its range and what was probably meant.
    fn validate(&self) -> Result<(), EmaError> {
        Ok(())
    }

    /// How much of an average is left after `updates` averages from `from` on: the product of their
    /// decays.
    ///
    /// By default they are multiplied until nothing is left, one by one up to 65 536 and from as many samples
    /// beyond. A rule with a closed form should override this.
    fn retained(&self, from: Moment, updates: u64) -> f64 {
        // 1 minus this is 1.
        const NOTHING: f64 = f64::EPSILON / 4096.0;
        const SAMPLES: u64 = 1 << 16;
        if updates <= SAMPLES {
            let mut retained = 1.0;
            for n in 0..updates {
                let decay = self.decay(from.later(n));
                if !(0.0..=1.0).contains(&decay) {
                    return f64::NAN; // not to be hidden by the others
                }
                retained *= decay;
                if retained < NOTHING {
                    return 0.0;
                }
            }
            return retained;
        }
        let stride = updates as f64 / SAMPLES as f64;
        let sample = |k: u64| self.decay(from.later(((k as f64 + 0.5) * stride) as u64));
        (0..SAMPLES)
            .map(|k| stride * sample(k).ln())
            .sum::<f64>()
            .exp()
    }
}

impl<F: Fn(Moment) -> f64> Rule for F {
    fn decay(&self, at: Moment) -> f64 {
        self(at)
    }
}
