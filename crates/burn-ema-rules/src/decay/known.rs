//! All decay schedules as one type, and the ways to make them.

use serde::{Deserialize, Serialize};

use crate::decay::annealing::Annealing;
use crate::decay::checks::{Checks, or_panic};
use crate::decay::clock::{Clock, Ticks};
use crate::decay::constant::Constant;
use crate::decay::copy_first::CopyFirst;
use crate::decay::cosine_warmup::CosineWarmup;
use crate::decay::custom::Custom;
use crate::decay::debiased::Debiased;
use crate::decay::decay_schedule::{DecaySchedule, is_share};
use crate::decay::equal_weights::EqualWeights;
use crate::decay::exponential_warmup::ExponentialWarmup;
use crate::decay::half_life::HalfLife;
use crate::decay::image_ramp_up::ImageRampUp;
use crate::decay::linear_warmup::LinearWarmup;
use crate::decay::per_step::PerStep;
use crate::decay::power_function::{PowerFunction, gamma_of_sigma_rel};
use crate::decay::power_law::PowerLaw;
use crate::decay::power_warmup::PowerWarmup;
use crate::decay::progress::Progress;
use crate::decay::restarted_mean::RestartedMean;
use crate::decay::tf_ramp::TfRamp;
use crate::decay::weight::Weight;
use crate::error::RulesError;

/// A decay schedule that can be stored in a configuration.
///
/// **Decay** is the share of the old EMA that an update keeps: `ema = decay * ema + (1 - decay) * online`. PyTorch, timm,
/// Keras and most papers use decay. mmagic, mmengine, Ignite and optax use the other share and call it momentum or step
/// size: use [`Decay::weight`] for that number.
///
/// | schedule | decay at the `n`-th update, counted from 0 |
/// |---|---|
/// | [`constant`](Self::constant) | `decay` |
/// | [`weight`](Self::weight), [`tau`](Self::tau) | `1 - weight` |
/// | [`half_life`](Self::half_life) | `2^(-interval / steps)` |
/// | [`half_life_share`](Self::half_life_share) | by a half-life that is a share of the steps so far |
/// | [`power_warmup`](Self::power_warmup), [`PowerWarmup`] | `1 - (1 + n)^-power`, up to a maximum |
/// | [`TfRamp`] | `(1 + n) / (10 + n)`, up to a maximum |
/// | [`ExponentialWarmup`] | `max (1 - exp(-n / tau))` |
/// | [`LinearWarmup`] | from one decay to another along a line |
/// | [`CosineWarmup`] | from one decay to another along half a cosine |
/// | [`ImageRampUp`] | by a half-life in images that grows with the images seen |
/// | [`Annealing`] | `n / (gamma + n)`, up to a maximum |
/// | [`equal_weights`](Self::equal_weights), [`EqualWeights`] | `n / (n + 1)`: the mean |
/// | [`sigma_rel`](Self::sigma_rel), [`one_minus_power`](Self::one_minus_power), [`PowerFunction`] | `(n / (n + 1))^(gamma + 1)` |
/// | [`RestartedMean`] | the mean of a window, which starts again |
/// | [`PowerLaw`] | `1 - (rho + gamma n)^-power` |
/// | [`custom`](Self::custom) | the result of your function |
///
/// [`per_step`](Self::per_step), [`debiased`](Self::debiased) and [`copy_first`](Self::copy_first) modify a schedule.
/// [`Schedule::profile`](crate::schedule::Schedule::profile) computes what a schedule amounts to. Module `presets` has the
/// schedules of other frameworks under the names and with the counting of those frameworks.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
///
/// let first = Progress { updates: 0, interval: 1 };
/// assert_eq!(Decay::constant(0.999).decay(first), 0.999);
/// assert_eq!(Decay::half_life(1000.0).decay(first), 0.5_f64.powf(0.001));
/// assert_eq!(Decay::power_warmup(2.0 / 3.0).decay(first), 0.0);
/// assert!(Decay::try_constant(0.001).is_err(), "0.001 is a weight, not a decay");
///
/// let every_tenth_step = Progress { updates: 0, interval: 10 };
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
    /// See [`CosineWarmup`].
    CosineWarmup(CosineWarmup),
    /// See [`ImageRampUp`].
    ImageRampUp(ImageRampUp),
    /// See [`Annealing`].
    Annealing(Annealing),
    /// See [`EqualWeights`].
    EqualWeights(EqualWeights),
    /// See [`PowerFunction`].
    PowerFunction(PowerFunction),
    /// See [`RestartedMean`].
    RestartedMean(RestartedMean),
    /// See [`PowerLaw`].
    PowerLaw(PowerLaw),
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
    /// The same decay at every update, in `[0.5, 1]`. Usual values are 0.99 to 0.9999.
    ///
    /// # Panics
    ///
    /// Panics where [`try_constant`](Self::try_constant) returns an error.
    #[must_use]
    #[track_caller]
    pub fn constant(decay: f64) -> Self {
        or_panic(Self::try_constant(decay))
    }

    /// [`constant`](Self::constant), with an error instead of a panic.
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidDecay`] if `decay` is not in `[0.5, 1]`. Below 0.5 the error says what to write if `decay` is
    /// the weight of the new weights. For such a short memory use [`Decay::weight`].
    pub fn try_constant(decay: f64) -> Result<Self, RulesError> {
        let checks = Checks::of("Decay::constant");
        checks.usual_decay("decay", decay).done()?;
        Self::Constant(Constant { decay }).checked()
    }

    /// Decay by half-life: the weight of a step halves in `steps` optimizer steps, for any interval.
    ///
    /// # Panics
    ///
    /// Panics where [`try_half_life`](Self::try_half_life) returns an error.
    #[must_use]
    #[track_caller]
    pub fn half_life(steps: f64) -> Self {
        or_panic(Self::try_half_life(steps))
    }

    /// [`half_life`](Self::half_life), with an error instead of a panic.
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidDecay`] if `steps` is not finite and positive.
    pub fn try_half_life(steps: f64) -> Result<Self, RulesError> {
        Self::HalfLife(HalfLife { steps }).checked()
    }

    /// A [`half_life`](Self::half_life) in epochs of `steps_per_epoch` optimizer steps.
    ///
    /// # Panics
    ///
    /// Panics if `epochs * steps_per_epoch` is not finite and positive.
    #[must_use]
    #[track_caller]
    pub fn half_life_epochs(epochs: f64, steps_per_epoch: u64) -> Self {
        Self::half_life(epochs * steps_per_epoch as f64)
    }

    /// A [`half_life`](Self::half_life) in images (examples), with `batch_size` images in an optimizer step: over all
    /// devices and accumulated gradients.
    ///
    /// # Panics
    ///
    /// Panics if `images` is not finite and positive, or `batch_size` is 0.
    #[must_use]
    #[track_caller]
    pub fn half_life_images(images: f64, batch_size: u64) -> Self {
        let checks = Checks::of("Decay::half_life_images");
        let checks = checks
            .positive("images", images)
            .positive("batch_size", batch_size as f64);
        or_panic(checks.done());
        Self::half_life(images / batch_size as f64)
    }

    /// A [`half_life`](Self::half_life) in thousands of images, with `batch_size` images in an optimizer step.
    ///
    /// # Panics
    ///
    /// Panics if `kimg` is not finite and positive, or `batch_size` is 0.
    #[must_use]
    #[track_caller]
    pub fn half_life_kimg(kimg: f64, batch_size: u64) -> Self {
        Self::half_life_images(kimg * 1000.0, batch_size)
    }

    /// A half-life that grows with the run: `share` of the optimizer steps so far, for any interval. At step `t` the decay is
    /// `2^(-interval / (share * t))`. EDM2's `TraditionalEMA` does this until its half-life is reached; this one has no end,
    /// and needs no length of the run.
    ///
    /// # Panics
    ///
    /// Panics where [`try_half_life_share`](Self::try_half_life_share) returns an error.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
    ///
    /// let decay = Decay::half_life_share(0.25);
    /// // At step 4 the half-life is a step, and at step 400 it is 100 steps.
    /// assert_eq!(decay.decay(Progress { updates: 3, interval: 1 }), 0.5);
    /// assert_eq!(decay.decay(Progress { updates: 399, interval: 1 }), 0.5_f64.powf(0.01));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn half_life_share(share: f64) -> Self {
        or_panic(Self::try_half_life_share(share))
    }

    /// [`half_life_share`](Self::half_life_share), with an error instead of a panic.
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidDecay`] if `share` is not finite and positive.
    pub fn try_half_life_share(share: f64) -> Result<Self, RulesError> {
        let checks = Checks::of("Decay::half_life_share");
        checks.positive("share", share).done()?;
        let ramp = ImageRampUp {
            half_life_images: None,
            ramp_up: Some(share),
            batch_size: 1,
            clock: Clock {
                ticks: Ticks::Steps,
                inclusive: true,
                offset: 0,
            },
        };
        Self::ImageRampUp(ramp).checked()
    }

    /// A constant decay that was found at one batch size, for another: `decay^(batch_size / found_at)`, in `[0.5, 1]` at the
    /// batch size where it was found.
    ///
    /// This is the EMA scaling rule (Busbridge et al. 2023, arXiv:2307.13813): an optimizer step of a batch that is 8 times as
    /// large does what 8 steps did, and so forgets what 8 steps forgot. [`half_life_images`](Self::half_life_images) follows
    /// the same rule by itself.
    ///
    /// # Panics
    ///
    /// Panics if `decay` is not in `[0.5, 1]`, or a batch size is 0.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
    ///
    /// let decay = Decay::constant_for_batch(0.99, 256, 2048);
    /// let found = decay.decay(Progress { updates: 0, interval: 1 });
    /// assert!((found - 0.922744694428).abs() < 1e-12);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn constant_for_batch(decay: f64, found_at: u64, batch_size: u64) -> Self {
        let checks = Checks::of("Decay::constant_for_batch")
            .usual_decay("decay", decay)
            .positive("found_at", found_at as f64)
            .positive("batch_size", batch_size as f64);
        or_panic(checks.done());
        let decay = decay.powf(batch_size as f64 / found_at as f64);
        Constant { decay }.into()
    }

    /// Power warm-up: `1 - (1 + n)^-power` at the `n`-th update, counted from 0, up to 0.9999.
    ///
    /// [`PowerWarmup`], which converts into a `Decay`, also sets `inv_gamma`, bounds and start.
    ///
    /// # Panics
    ///
    /// Panics if `power` is not finite and positive.
    #[must_use]
    #[track_caller]
    pub fn power_warmup(power: f64) -> Self {
        PowerWarmup::new(power).into()
    }

    /// The same weight of the new weights at every update, in `[0, 1]`: decay `1 - weight`.
    ///
    /// mmagic and mmengine call this number momentum, optax calls it step size, and DQN papers call it tau.
    ///
    /// # Panics
    ///
    /// Panics where [`try_weight`](Self::try_weight) returns an error.
    #[must_use]
    #[track_caller]
    #[doc(alias = "momentum")]
    #[doc(alias = "step_size")]
    pub fn weight(weight: f64) -> Self {
        or_panic(Self::try_weight(weight))
    }

    /// [`weight`](Self::weight), with an error instead of a panic.
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidDecay`] if `weight` is not in `[0, 1]`.
    pub fn try_weight(weight: f64) -> Result<Self, RulesError> {
        Self::Weight(Weight { weight }).checked()
    }

    /// Soft update of target networks (DQN, DDPG, SAC): `tau` is the weight of the new weights. A synonym of
    /// [`weight`](Self::weight).
    ///
    /// # Panics
    ///
    /// Panics if `tau` is not in `[0, 1]`.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::decay::Decay;
    ///
    /// assert_eq!(Decay::tau(0.005), Decay::weight(0.005));
    /// ```
    #[must_use]
    #[track_caller]
    #[doc(alias = "soft update")]
    #[doc(alias = "polyak")]
    pub fn tau(tau: f64) -> Self {
        Self::weight(tau)
    }

    /// The mean of all weights since the start (SWA). See [`EqualWeights`].
    #[must_use]
    #[doc(alias = "SWA")]
    pub fn equal_weights() -> Self {
        EqualWeights::default().into()
    }

    /// The power function EMA of relative width `sigma_rel` (Karras et al. 2023). See [`PowerFunction`].
    ///
    /// # Panics
    ///
    /// Panics where [`try_sigma_rel`](Self::try_sigma_rel) returns an error.
    #[must_use]
    #[track_caller]
    pub fn sigma_rel(sigma_rel: f64) -> Self {
        or_panic(Self::try_sigma_rel(sigma_rel))
    }

    /// [`sigma_rel`](Self::sigma_rel), with an error instead of a panic.
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidDecay`] if `sigma_rel` is not above 0 and below `1/sqrt(12)`, about 0.2887.
    pub fn try_sigma_rel(sigma_rel: f64) -> Result<Self, RulesError> {
        let gamma = gamma_of_sigma_rel(sigma_rel)?;
        Ok(PowerFunction { gamma }.into())
    }

    /// What a learning rate that falls as `1 - x^power` over the share `x` of the run would do, at a constant learning rate:
    /// the merge of WSM (2025, arXiv:2507.17634), of all steps so far and without a length of the run.
    ///
    /// To first order the EMA is the model that the same steps would have given, each scaled by `1 - x^power` for the share `x`
    /// of the steps before it. It is a [`PowerFunction`] with `gamma = power - 1`, and `power` 1 is the
    /// [mean](Self::equal_weights).
    ///
    /// # Panics
    ///
    /// Panics where [`try_one_minus_power`](Self::try_one_minus_power) returns an error.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::decay::Decay;
    /// use burn_ema_rules::schedule::Schedule;
    ///
    /// let profile = Schedule::default().profile(&Decay::one_minus_power(2.0), 4)?;
    /// // Of the initial weights, and of the four updates.
    /// assert_eq!(profile.weights(), [0.0, 0.0625, 0.1875, 0.3125, 0.4375]);
    /// # Ok::<(), burn_ema_rules::RulesError>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn one_minus_power(power: f64) -> Self {
        or_panic(Self::try_one_minus_power(power))
    }

    /// [`one_minus_power`](Self::one_minus_power), with an error instead of a panic.
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidDecay`] if `power` is not finite and positive.
    pub fn try_one_minus_power(power: f64) -> Result<Self, RulesError> {
        let checks = Checks::of("Decay::one_minus_power");
        checks.positive("power", power).done()?;
        let gamma = power - 1.0;
        Self::PowerFunction(PowerFunction { gamma }).checked()
    }

    /// [`one_minus_power`](Self::one_minus_power) of 1/2: the `minus-sqrt` merge of WSM and of Megatron-LM, with which
    /// Nemotron 3 Super (arXiv:2604.12374) replaces the decay of the learning rate. The weight falls from the oldest update to
    /// the newest.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::decay::Decay;
    /// use burn_ema_rules::schedule::Schedule;
    ///
    /// let profile = Schedule::default().profile(&Decay::minus_sqrt(), 2)?;
    /// assert!((profile.weights()[1] - 0.5_f64.sqrt()).abs() < 1e-15);
    /// # Ok::<(), burn_ema_rules::RulesError>(())
    /// ```
    #[must_use]
    pub fn minus_sqrt() -> Self {
        PowerFunction { gamma: -0.5 }.into()
    }

    /// A decay schedule of your own: a function of [`Progress`], or a type that implements [`DecaySchedule`].
    ///
    /// Configuration files store the `name` only. A decay outside `[0, 1]` is an error of the update that asked for the
    /// decay.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
    ///
    /// let two_phases = Decay::custom("two phases", |at: Progress| if at.updates < 1000 { 0.99 } else { 0.999 });
    /// assert_eq!(two_phases.decay(Progress { updates: 1000, interval: 1 }), 0.999);
    /// ```
    #[must_use]
    pub fn custom(
        name: impl Into<String>,
        schedule: impl DecaySchedule + Send + Sync + 'static,
    ) -> Self {
        Self::Custom(Custom::new(name, schedule))
    }

    /// Makes this schedule independent of the interval: with an update every `n` steps, each update keeps what `n`
    /// updates would keep. For a constant decay that is `decay^n`. See [`PerStep`].
    ///
    /// Without this method a schedule is per update, as in most frameworks, and an interval of 10 makes the window 10
    /// times as long in optimizer steps.
    #[must_use]
    pub fn per_step(self) -> Self {
        Self::PerStep(PerStep {
            schedule: Box::new(self),
        })
    }

    /// Corrects this schedule for bias, as Adam and optax (`debias`) do: no trace is left of the weights that averaging
    /// started from, and the later weights keep the proportions of the schedule. See [`Debiased`].
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::decay::Decay;
    /// use burn_ema_rules::schedule::Schedule;
    ///
    /// // optax.ema(0.9) of the values 5 and 7: (0.1 * 7 + 0.9 * 0.1 * 5) / (1 - 0.9^2) = 1.15 / 0.19
    /// let profile = Schedule::default().profile(&Decay::constant(0.9).debiased(), 2)?;
    /// let weights = profile.weights();
    /// assert!((weights[1] * 5.0 + weights[2] * 7.0 - 6.0526315789).abs() < 1e-10);
    /// assert_eq!(weights[0], 0.0);
    /// # Ok::<(), burn_ema_rules::RulesError>(())
    /// ```
    #[must_use]
    #[doc(alias = "debias")]
    pub fn debiased(self) -> Self {
        Self::Debiased(Debiased::new(self))
    }

    /// Copies the online weights at the first `updates` updates, and follows this schedule afterwards. With 1, no trace is
    /// left of the weights that averaging started from. See [`CopyFirst`].
    #[must_use]
    pub fn copy_first(self, updates: u64) -> Self {
        Self::CopyFirst(CopyFirst {
            updates,
            schedule: Box::new(self),
        })
    }

    /// The decay at `at`, checked: [`DecaySchedule::decay`] with an error instead of a number outside `[0, 1]`.
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidDecay`] if the decay is outside `[0, 1]`, as a [custom](Self::custom) schedule may return.
    /// The error names the schedule, e.g. `Decay::custom("mine")`.
    pub fn try_decay(&self, at: Progress) -> Result<f64, RulesError> {
        let decay = self.decay(at);
        if is_share(decay) {
            return Ok(decay);
        }
        Err(RulesError::InvalidDecay {
            schedule: self.described(),
            quantity: "decay",
            expected: "in [0, 1]",
            found: decay,
            hint: format!(
                " at update {} (counted from 0) with an interval of {}: correct the schedule there",
                at.updates, at.interval
            ),
        })
    }

    /// `self`, if its numbers are valid.
    pub(crate) fn checked(self) -> Result<Self, RulesError> {
        self.validate().map(|()| self)
    }

    /// The schedule as it is written in code, for messages.
    fn described(&self) -> String {
        match self {
            Self::Custom(custom) => format!("Decay::custom({:?})", custom.name),
            Self::PerStep(modified) => format!("{}.per_step()", modified.schedule.described()),
            Self::Debiased(modified) => format!("{}.debiased()", modified.schedule().described()),
            Self::CopyFirst(CopyFirst { updates, schedule }) => {
                format!("{}.copy_first({updates})", schedule.described())
            }
            known => format!("Decay::{known:?}"),
        }
    }

    fn schedule(&self) -> &dyn DecaySchedule {
        match self {
            Self::Constant(schedule) => schedule,
            Self::HalfLife(schedule) => schedule,
            Self::PowerWarmup(schedule) => schedule,
            Self::Weight(schedule) => schedule,
            Self::TfRamp(schedule) => schedule,
            Self::ExponentialWarmup(schedule) => schedule,
            Self::LinearWarmup(schedule) => schedule,
            Self::CosineWarmup(schedule) => schedule,
            Self::ImageRampUp(schedule) => schedule,
            Self::Annealing(schedule) => schedule,
            Self::EqualWeights(schedule) => schedule,
            Self::PowerFunction(schedule) => schedule,
            Self::RestartedMean(schedule) => schedule,
            Self::PowerLaw(schedule) => schedule,
            Self::Custom(schedule) => schedule,
            Self::PerStep(schedule) => schedule,
            Self::Debiased(schedule) => schedule,
            Self::CopyFirst(schedule) => schedule,
        }
    }
}

impl DecaySchedule for Decay {
    fn decay(&self, at: Progress) -> f64 {
        self.schedule().decay(at)
    }

    fn validate(&self) -> Result<(), RulesError> {
        self.schedule().validate()
    }

    fn retained(&self, from: Progress, updates: u64) -> f64 {
        self.schedule().retained(from, updates)
    }
}

macro_rules! from_schedules {
    ($($Schedule:ident)*) => {
        $(
            impl From<$Schedule> for Decay {
                fn from(schedule: $Schedule) -> Self {
                    Self::$Schedule(schedule)
                }
            }
        )*
    };
}

from_schedules! {
    Constant HalfLife PowerWarmup Weight TfRamp ExponentialWarmup LinearWarmup CosineWarmup ImageRampUp Annealing
    EqualWeights PowerFunction RestartedMean PowerLaw Custom PerStep Debiased CopyFirst
}
