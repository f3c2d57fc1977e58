//! Decay rules: how much of the old average an update keeps, as pure functions of counters.
//!
//! Nothing in here knows of tensors. A new rule is a file with a struct that implements [`Rule`],
//! and a variant of [`Decay`].

mod constant;
mod half_life;
mod power_warmup;
mod weight;

pub use constant::Constant;
pub use half_life::HalfLife;
pub use power_warmup::PowerWarmup;
pub use weight::Weight;

use serde::{Deserialize, Serialize};

use crate::EmaError;

/// Where an average stands when its rule is asked for a decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Averages taken before this one: 0 for the first.
    pub updates: u64,
    /// Optimizer steps from one average to the next, i.e. the interval.
    pub interval: u64,
}

/// How much of the old average an update keeps.
pub trait Rule {
    /// The decay of the average that is due, in `[0, 1]`: the share of the old average that stays.
    fn decay(&self, at: Moment) -> f64;

    /// Checks the numbers of the rule.
    ///
    /// # Errors
    ///
    /// [`EmaError::InvalidDecay`], which names the number, its range and what was probably meant.
    fn validate(&self) -> Result<(), EmaError>;
}

/// A decay rule that can be stored in a configuration.
///
/// **Decay** is the share of the old average that an update keeps:
/// `ema = decay * ema + (1 - decay) * source`. PyTorch, timm, Keras and most papers count this way.
/// mmagic, mmengine and optax count the other share and call it momentum or step size; for these
/// there is [`Decay::weight`].
///
/// # Example
///
/// ```
/// use burn_ema::{Decay, Moment, Rule};
///
/// let first = Moment { updates: 0, interval: 1 };
/// assert_eq!(Decay::constant(0.999).decay(first), 0.999);
/// assert_eq!(Decay::half_life(1000.0).decay(first), 0.5_f64.powf(0.001));
/// assert_eq!(Decay::power_warmup(2.0 / 3.0).decay(first), 0.0);
/// assert!(Decay::try_constant(0.001).is_err(), "that is a weight, not a decay");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Decay {
    /// See [`Constant`].
    Constant(Constant),
    /// See [`HalfLife`].
    HalfLife(HalfLife),
    /// See [`PowerWarmup`].
    PowerWarmup(PowerWarmup),
    /// See [`Weight`].
    Weight(Weight),
}

impl Decay {
    /// The same decay for every update, in `[0.5, 1]`; 0.99 to 0.9999 is usual.
    ///
    /// # Panics
    ///
    /// Where [`try_constant`](Self::try_constant) returns an error.
    pub fn constant(decay: f64) -> Self {
        or_panic(Self::try_constant(decay))
    }

    /// [`constant`](Self::constant), fallible.
    ///
    /// # Errors
    ///
    /// If `decay` is not in `[0.5, 1]`. Below 0.5 the error says what `decay` would be if the weight
    /// of the new value was given by mistake; who really wants such a short memory writes
    /// [`Decay::weight`].
    pub fn try_constant(decay: f64) -> Result<Self, EmaError> {
        checked(Self::Constant(Constant { decay }))
    }

    /// A weight counts half after `steps` optimizer steps, whatever the interval between updates.
    ///
    /// # Panics
    ///
    /// Where [`try_half_life`](Self::try_half_life) returns an error.
    pub fn half_life(steps: f64) -> Self {
        or_panic(Self::try_half_life(steps))
    }

    /// [`half_life`](Self::half_life), fallible.
    ///
    /// # Errors
    ///
    /// If `steps` is not finite and positive.
    pub fn try_half_life(steps: f64) -> Result<Self, EmaError> {
        checked(Self::HalfLife(HalfLife { steps }))
    }

    /// `1 - (1 + n)^-power` at the `n`-th update, counted from 0, up to 0.9999.
    ///
    /// `inv_gamma` and the bounds can be set on [`PowerWarmup`], which turns into a `Decay`.
    ///
    /// # Panics
    ///
    /// If `power` is not finite and positive.
    pub fn power_warmup(power: f64) -> Self {
        PowerWarmup::new(power).into()
    }

    /// Every update takes the share `weight` of the new value, in `[0, 1]`: decay `1 - weight`.
    ///
    /// mmagic and mmengine call this quantity momentum, optax step size, DQN papers tau.
    ///
    /// # Panics
    ///
    /// Where [`try_weight`](Self::try_weight) returns an error.
    pub fn weight(weight: f64) -> Self {
        or_panic(Self::try_weight(weight))
    }

    /// [`weight`](Self::weight), fallible.
    ///
    /// # Errors
    ///
    /// If `weight` is not in `[0, 1]`.
    pub fn try_weight(weight: f64) -> Result<Self, EmaError> {
        checked(Self::Weight(Weight { weight }))
    }

    fn rule(&self) -> &dyn Rule {
        match self {
            Self::Constant(rule) => rule,
            Self::HalfLife(rule) => rule,
            Self::PowerWarmup(rule) => rule,
            Self::Weight(rule) => rule,
        }
    }
}

impl Rule for Decay {
    fn decay(&self, at: Moment) -> f64 {
        self.rule().decay(at)
    }

    fn validate(&self) -> Result<(), EmaError> {
        self.rule().validate()
    }
}

fn checked(decay: Decay) -> Result<Decay, EmaError> {
    decay.validate().map(|()| decay)
}

fn or_panic(decay: Result<Decay, EmaError>) -> Decay {
    decay.unwrap_or_else(|error| panic!("{error}"))
}
