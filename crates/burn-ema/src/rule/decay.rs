//! The known rules as one type, and the ways to write them down.

use serde::{Deserialize, Serialize};

use super::{
    Annealing, Checks, Constant, CopyFirst, Custom, Debiased, EqualWeights, ExponentialWarmup,
    HalfLife, ImageRampUp, LinearWarmup, Moment, PerStep, PowerFunction, PowerWarmup, Rule, TfRamp,
    Weight, gamma_of_sigma_rel,
};
use crate::EmaError;

/// A decay rule that can be stored in a configuration.
///
/// **Decay** is the share of the old average that an update keeps:
/// `ema = decay * ema + (1 - decay) * source`. PyTorch, timm, Keras and most papers count this way.
/// mmagic, mmengine, Ignite and optax count the other share and call it momentum or step size; for these
/// there is [`Decay::weight`].
///
/// | rule | decay at the `n`-th average, counted from 0 |
/// |---|---|
/// | [`constant`](Self::constant), [`weight`](Self::weight) | the same |
/// | [`half_life`](Self::half_life) | `2^(-interval / steps)` |
/// | [`power_warmup`](Self::power_warmup) | `1 - (1 + n)^-power`, up to a maximum |
/// | [`TfRamp`] | `(1 + n) / (10 + n)`, up to a maximum |
/// | [`ExponentialWarmup`] | `max (1 - exp(-n / tau))` |
/// | [`LinearWarmup`] | from one decay to another along a line |
/// | [`ImageRampUp`] | by a half-life in images that grows with the images seen |
/// | [`Annealing`] | `n / (gamma + n)`, up to a maximum |
/// | [`equal_weights`](Self::equal_weights) | `n / (n + 1)`: the mean |
/// | [`sigma_rel`](Self::sigma_rel), [`PowerFunction`] | `(n / (n + 1))^(gamma + 1)` |
/// | [`custom`](Self::custom) | what a function says |
///
/// [`per_step`](Self::per_step), [`debiased`](Self::debiased) and [`copy_first`](Self::copy_first) change a
/// rule. [`EmaConfig::profile`](crate::EmaConfig::profile) says in numbers what comes out. Rules under
/// the names and with the counting of other systems are in [`peers`](crate::peers).
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
///
/// let every_tenth_step = Moment { updates: 0, interval: 10 };
/// assert_eq!(Decay::constant(0.999).decay(every_tenth_step), 0.999);
/// assert_eq!(Decay::constant(0.999).per_step().decay(every_tenth_step), 0.999_f64.powf(10.0));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// See [`TfRamp`].
    TfRamp(TfRamp),
    /// See [`ExponentialWarmup`].
    ExponentialWarmup(ExponentialWarmup),
    /// See [`LinearWarmup`].
    LinearWarmup(LinearWarmup),
    /// See [`ImageRampUp`].
    ImageRampUp(ImageRampUp),
    /// See [`Annealing`].
    Annealing(Annealing),
    /// See [`EqualWeights`].
    EqualWeights(EqualWeights),
    /// See [`PowerFunction`].
    PowerFunction(PowerFunction),
    /// See [`Custom`].
    Custom(Custom),
    /// See [`PerStep`].
    PerStep(PerStep),
    /// See [`Debiased`].
    Debiased(Debiased),
    /// See [`CopyFirst`].
    CopyFirst(CopyFirst),
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
        Self::Constant(Constant { decay }).checked()
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
        Self::HalfLife(HalfLife { steps }).checked()
    }

    /// A [`half_life`](Self::half_life) in epochs of `steps_per_epoch` optimizer steps.
    ///
    /// # Panics
    ///
    /// If `epochs * steps_per_epoch` is not finite and positive.
    pub fn half_life_epochs(epochs: f64, steps_per_epoch: u64) -> Self {
        Self::half_life(epochs * steps_per_epoch as f64)
    }

    /// A [`half_life`](Self::half_life) in images (examples), of which an optimizer step sees `batch_size`: the
    /// number over all devices and accumulated gradients.
    ///
    /// # Panics
    ///
    /// If `images` or `batch_size` is not finite and positive.
    pub fn half_life_images(images: f64, batch_size: u64) -> Self {
        let checks = Checks::of("Decay::half_life_images");
        let checked = checks
            .positive("images", images)
            .positive("batch_size", batch_size as f64)
            .done();
        checked.unwrap_or_else(|error| panic!("{error}"));
        Self::half_life(images / batch_size as f64)
    }

    /// A [`half_life`](Self::half_life) in thousands of images, of which an optimizer step sees `batch_size`.
    ///
    /// # Panics
    ///
    /// If `kimg` or `batch_size` is not finite and positive.
    pub fn half_life_kimg(kimg: f64, batch_size: u64) -> Self {
        Self::half_life_images(kimg * 1000.0, batch_size)
    }

    /// `1 - (1 + n)^-power` at the `n`-th update, counted from 0, up to 0.9999.
    ///
    /// `inv_gamma`, bounds and start can be set on [`PowerWarmup`], which turns into a `Decay`.
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
        Self::Weight(Weight { weight }).checked()
    }

    /// The mean of all that was seen since the start (SWA). See [`EqualWeights`].
    pub fn equal_weights() -> Self {
        EqualWeights::default().into()
    }

    /// The power function average of relative width `sigma_rel` (Karras et al. 2023). See [`PowerFunction`].
    ///
    /// # Panics
    ///
    /// Where [`try_sigma_rel`](Self::try_sigma_rel) returns an error.
    pub fn sigma_rel(sigma_rel: f64) -> Self {
        or_panic(Self::try_sigma_rel(sigma_rel))
    }

    /// [`sigma_rel`](Self::sigma_rel), fallible.
    ///
    /// # Errors
    ///
    /// If `sigma_rel` is not above 0 and below `1/sqrt(12)`, about 0.2887.
    pub fn try_sigma_rel(sigma_rel: f64) -> Result<Self, EmaError> {
        let gamma = gamma_of_sigma_rel(sigma_rel)?;
        Ok(PowerFunction { gamma }.into())
    }

    /// A rule of your own: a function of a [`Moment`], or anything that implements [`Rule`].
    ///
    /// Configuration files hold the `name` only. A decay outside `[0, 1]` is an error of the update that
    /// asked for it.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema::{Decay, EmaConfig, Moment};
    ///
    /// let two_phases = Decay::custom("two phases", |at: Moment| if at.updates < 1000 { 0.99 } else { 0.999 });
    /// let config = EmaConfig::new().with_decay(two_phases);
    /// ```
    pub fn custom(name: impl Into<String>, rule: impl Rule + Send + Sync + 'static) -> Self {
        Self::Custom(Custom::new(name, rule))
    }

    /// This rule, meant per optimizer step: with an average every `n` steps, each keeps what `n` averages
    /// would, so that the window does not change with the interval. For a constant that is `decay^n`.
    ///
    /// Without it a rule is meant per average, as most systems do, and an interval of 10 makes the window
    /// 10 times as long in optimizer steps.
    pub fn per_step(self) -> Self {
        Self::PerStep(PerStep {
            rule: Box::new(self),
        })
    }

    /// This rule with zero-debias: the weights that averaging started from leave no trace, and those seen
    /// since are in the proportions of the rule. Adam's bias correction, optax's `debias`.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema::{Decay, EmaConfig};
    ///
    /// // optax.ema(0.9) of the values 5 and 7: (0.1 * 7 + 0.9 * 0.1 * 5) / (1 - 0.9^2) = 1.15 / 0.19
    /// let config = EmaConfig::new().with_decay(Decay::constant(0.9).debiased());
    /// let profile = config.profile(2)?;
    /// let weights = profile.weights();
    /// assert!((weights[1] * 5.0 + weights[2] * 7.0 - 6.0526315789).abs() < 1e-10);
    /// assert_eq!(weights[0], 0.0);
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn debiased(self) -> Self {
        Self::Debiased(Debiased {
            rule: Box::new(self),
        })
    }

    /// This rule with copies in place of the first `updates` averages. With 1, what the average was before it
    /// began leaves no trace, and the first weights that are seen take its place.
    pub fn copy_first(self, updates: u64) -> Self {
        Self::CopyFirst(CopyFirst {
            updates,
            rule: Box::new(self),
        })
    }

    /// The decay at `at`, if it is one: [`Rule::decay`], checked.
    ///
    /// # Errors
    ///
    /// [`EmaError::InvalidDecay`] if a rule of the user's own gives something outside `[0, 1]`.
    pub fn try_decay(&self, at: Moment) -> Result<f64, EmaError> {
        let decay = self.decay(at);
        if (0.0..=1.0).contains(&decay) {
            return Ok(decay);
        }
        Err(EmaError::InvalidDecay {
            rule: "Decay::custom",
            quantity: "decay",
            expected: "in [0, 1]",
            found: decay,
            hint: format!(" at update {} (counted from 0) of {self:?}", at.updates),
        })
    }

    pub(crate) fn checked(self) -> Result<Self, EmaError> {
        self.validate().map(|()| self)
    }

    fn rule(&self) -> &dyn Rule {
        match self {
            Self::Constant(rule) => rule,
            Self::HalfLife(rule) => rule,
            Self::PowerWarmup(rule) => rule,
            Self::Weight(rule) => rule,
            Self::TfRamp(rule) => rule,
            Self::ExponentialWarmup(rule) => rule,
            Self::LinearWarmup(rule) => rule,
            Self::ImageRampUp(rule) => rule,
            Self::Annealing(rule) => rule,
            Self::EqualWeights(rule) => rule,
            Self::PowerFunction(rule) => rule,
            Self::Custom(rule) => rule,
            Self::PerStep(rule) => rule,
            Self::Debiased(rule) => rule,
            Self::CopyFirst(rule) => rule,
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

    fn retained(&self, from: Moment, updates: u64) -> f64 {
        self.rule().retained(from, updates)
    }
}

pub(crate) fn or_panic(decay: Result<Decay, EmaError>) -> Decay {
    decay.unwrap_or_else(|error| panic!("{error}"))
}
