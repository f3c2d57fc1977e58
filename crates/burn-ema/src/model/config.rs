//! The configuration of an EMA, which saves to and loads from JSON.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{DType, Device};
use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
#[cfg(feature = "presets")]
use burn_ema_rules::presets::{Buffers, Preset};
use burn_ema_rules::profile::Profile;
use burn_ema_rules::schedule::Schedule;
use serde::{Deserialize, Serialize};

pub use crate::engine::guard::NonFinite;

use crate::engine::batch::Rounding;
use crate::engine::decide::Rules;
use crate::error::EmaError;
use crate::model::EmaModel;
use crate::model::write_back::WriteBack;
use crate::plan::{EmaPlan, PlanAction};
use crate::policy::Policy;
#[cfg(feature = "presets")]
use crate::policy::{Action, BufferAction};

/// Configuration of an [`EmaModel`].
///
/// A JSON file may leave out fields, which then have their defaults. Parse it with serde_json's feature `float_roundtrip` where
/// numbers must come back to the last bit.
///
/// # Example
///
/// ```
/// use burn::config::Config;
/// use burn_ema::config::NonFinite;
/// use burn_ema::{Decay, EmaConfig};
///
/// let config = EmaConfig::new()
///     .with_decay(Decay::half_life(2_000.0))
///     .with_start(500)
///     .with_interval(10)
///     .with_non_finite(NonFinite::Skip);
///
/// let json = burn::config::config_to_json(&config);
/// let loaded = EmaConfig::load_binary(json.as_bytes()).unwrap();
/// assert_eq!(loaded.decay, config.decay);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EmaConfig {
    /// Share of the old EMA that an update keeps. Default: 0.999 at every update.
    pub decay: Decay,
    /// Number of optimizer steps during which the EMA stays a copy of the model. Default: 0.
    pub start: u64,
    /// Number of optimizer steps from one update to the next, at least 1. Default: 1.
    pub interval: u64,
    /// Which tensors are averaged, copied or ignored.
    pub policy: Policy,
    /// The dtype in which averaged tensors are kept. Default: at least f32.
    pub precision: EmaPrecision,
    /// What happens when the model holds NaN or infinity. Default: propagate.
    pub non_finite: NonFinite,
    /// What happens when a record without this EMA is loaded. Default: an error.
    pub missing_ema: MissingEma,
    /// When the EMA is written back into the online model. Default: never. The Learner does it; in your own loop call
    /// [`write_back_if_due`](EmaModel::write_back_if_due) after each update.
    pub write_back: Option<WriteBack>,
}

/// A difference to the model that an EMA should not lose.
const NOTABLE_STALL: f64 = 5e-4;

impl Config for EmaConfig {}

impl std::fmt::Display for EmaConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&burn::config::config_to_json(self))
    }
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self {
            decay: Decay::constant(0.999),
            start: 0,
            interval: 1,
            policy: Policy::new(),
            precision: EmaPrecision::AtLeastF32,
            non_finite: NonFinite::Propagate,
            missing_ema: MissingEma::Error,
            write_back: None,
        }
    }
}

/// The dtype in which averaged floats are kept. What is only copied keeps the dtype of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EmaPrecision {
    /// The dtype of the model, but f32 where the model has f16 or bf16. With 8 bits of precision an update of a thousandth
    /// rounds to nothing, and the EMA never moves.
    AtLeastF32,
    /// The dtype of the model.
    SameAsModel,
    /// f64, on devices that have it: an error on others. It takes 20 bytes of memory traffic for each element of an f32 model
    /// where f32 takes 12, and [stalls](EmaConfig::stalls_below) only at about 1e-12 at a decay of 0.9999.
    F64,
    /// At least f32, and beside each tensor a second one for what rounding would lose (Kahan's compensated summation, 1965). An
    /// f32 EMA then moves by updates far below its last place, on every device. The same traffic and memory as f64 for an f32
    /// model.
    ///
    /// The second tensors are in the record. An [`EmaModel`], a set and the Learner load records without them, too; a record of
    /// another module with such an EMA inside has to have them, unless it is loaded with
    /// [`allow_partial`](burn::store::ModuleRecord::allow_partial).
    Compensated,
    /// bf16, rounded up or down at random: up with the probability that makes the mean of the rounded numbers that of f32. An
    /// EMA in half of the memory of f32, which stalls where one in f32 does, but is noisy: by up to `0.29 / sqrt(1 - decay)` of
    /// the distance of two neighbours in bf16, which is 1% to 2% of the value at a decay of 0.99 and ten times as much at
    /// 0.9999. So take a longer [interval](EmaConfig::interval) with a lower decay. On devices that have bf16: an error on others.
    ///
    /// The random bits come from a hash of the seed, the number of the update, the path of the tensor and the position of the
    /// element: the same on every backend, and after a resume.
    StochasticBf16 {
        /// Another seed gives other random bits. EMAs of a set may have the same.
        seed: u64,
    },
}

impl EmaPrecision {
    /// The dtype that a float of the model is averaged in.
    pub(crate) fn of(self, model: DType) -> DType {
        match (self, model) {
            (Self::F64, _) => DType::F64,
            (Self::StochasticBf16 { .. }, _) => DType::BF16,
            (Self::AtLeastF32 | Self::Compensated, DType::F16 | DType::BF16 | DType::Flex32) => {
                DType::F32
            }
            _ => model,
        }
    }

    /// Whether a device may lack the dtype.
    pub(crate) fn may_be_missing(self) -> bool {
        matches!(self, Self::F64 | Self::StochasticBf16 { .. })
    }

    /// How the tensor called `name` is rounded in the update after `updates`.
    pub(crate) fn rounding(self, updates: u64, name: &str) -> Rounding {
        match self {
            Self::AtLeastF32 | Self::SameAsModel | Self::F64 => Rounding::Nearest,
            Self::Compensated => Rounding::Compensated,
            Self::StochasticBf16 { seed } => Rounding::Stochastic {
                key: burn_ema_kernels::random_key(seed, updates, name),
            },
        }
    }

    /// The dtype that the EMA keeps a tensor of the model in, by what an update does to it.
    pub(crate) fn kept(self, action: PlanAction, model: DType) -> DType {
        match action {
            PlanAction::Average => self.of(model),
            PlanAction::Copy | PlanAction::Ignore | PlanAction::Reestimate => model,
        }
    }
}

/// What happens when a record is loaded that does not have this EMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MissingEma {
    /// An error, which names the EMAs of the record.
    Error,
    /// The EMA starts from the weights of the record, with all counters at 0. In a set whose other EMAs are in the record,
    /// it starts from the online weights of the record, or from the model that the set was created from if there are none.
    StartFromWeights,
}

impl EmaConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The configuration of another framework's EMA, from its arguments.
    ///
    /// # Errors
    ///
    /// If an argument is out of its range.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema::EmaConfig;
    /// use burn_ema::presets::TimmV3;
    ///
    /// // ModelEmaV3(model, decay=0.9998, use_warmup=True)
    /// let timm = TimmV3 { decay: 0.9998, use_warmup: true, ..TimmV3::default() };
    /// let config = EmaConfig::from_preset(&timm)?;
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    #[cfg(feature = "presets")]
    pub fn from_preset(preset: &(impl Preset + ?Sized)) -> Result<Self, EmaError> {
        let settings = preset.settings()?;
        let frozen = match settings.frozen_averaged {
            true => Action::Average,
            false => Action::Copy,
        };
        let buffers = match settings.buffers {
            Buffers::Average => BufferAction::Average,
            Buffers::Ignore => BufferAction::Ignore,
            _ => BufferAction::Copy,
        };
        let config = Self {
            decay: settings.decay,
            start: settings.start,
            interval: settings.interval,
            policy: Policy::new().with_frozen(frozen).with_buffers(buffers),
            write_back: settings.write_back.map(|settings| WriteBack {
                every: settings.every,
                start: settings.start,
                keep: settings.keep,
            }),
            ..Self::new()
        };
        config.validate()?;
        Ok(config)
    }

    /// Sets the [decay schedule](Self::decay).
    #[must_use]
    pub fn with_decay(mut self, decay: Decay) -> Self {
        self.decay = decay;
        self
    }

    /// Sets the number of steps that [only copy](Self::start).
    #[must_use]
    pub fn with_start(mut self, start: u64) -> Self {
        self.start = start;
        self
    }

    /// Sets the number of steps from [one update to the next](Self::interval).
    #[must_use]
    pub fn with_interval(mut self, interval: u64) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [what is averaged](Self::policy).
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the [dtype of the EMA](Self::precision).
    #[must_use]
    pub fn with_precision(mut self, precision: EmaPrecision) -> Self {
        self.precision = precision;
        self
    }

    /// Sets what happens at [NaN and infinity](Self::non_finite).
    #[must_use]
    pub fn with_non_finite(mut self, non_finite: NonFinite) -> Self {
        self.non_finite = non_finite;
        self
    }

    /// Sets what happens with [records without this EMA](Self::missing_ema).
    #[must_use]
    pub fn with_missing_ema(mut self, missing_ema: MissingEma) -> Self {
        self.missing_ema = missing_ema;
        self
    }

    /// Writes the EMA [back into the model](Self::write_back) now and then.
    #[must_use]
    pub fn with_write_back(mut self, write_back: WriteBack) -> Self {
        self.write_back = Some(write_back);
        self
    }

    /// Creates an EMA that starts as a copy of `model`, on the devices of `model`.
    ///
    /// The EMA shares the model's memory until one of them changes; only what is averaged in another
    /// [dtype](Self::precision) than the model's is copied.
    ///
    /// # Panics
    ///
    /// Where [`try_init`](Self::try_init) returns an error.
    pub fn init<M: Module>(&self, model: &M) -> EmaModel<M> {
        self.try_init(model)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`init`](Self::init), fallible.
    ///
    /// # Errors
    ///
    /// If the configuration is not [valid](Self::validate), an override matches nothing, the model has no parameters, or one
    /// of its parameters has too many dimensions.
    pub fn try_init<M: Module>(&self, model: &M) -> Result<EmaModel<M>, EmaError> {
        EmaModel::new(self, model, None)
    }

    /// Creates an EMA that is kept on `device`, whatever device `model` is on or moves to.
    ///
    /// Use it to keep the EMA out of a GPU's memory. Each update then moves what has changed in `model` to `device`.
    ///
    /// # Panics
    ///
    /// Where [`try_init_on`](Self::try_init_on) returns an error.
    pub fn init_on<M: Module>(&self, model: &M, device: &Device) -> EmaModel<M> {
        self.try_init_on(model, device)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`init_on`](Self::init_on), fallible.
    ///
    /// # Errors
    ///
    /// Those of [`try_init`](Self::try_init).
    pub fn try_init_on<M: Module>(
        &self,
        model: &M,
        device: &Device,
    ) -> Result<EmaModel<M>, EmaError> {
        EmaModel::new(self, model, Some(device.clone().without_autodiff()))
    }

    /// What an EMA of `model` will do to each tensor, and what it will cost.
    ///
    /// # Errors
    ///
    /// Those of [`try_init`](Self::try_init).
    pub fn plan<M: Module>(&self, model: &M) -> Result<EmaPlan, EmaError> {
        Ok(self.try_init(model)?.plan())
    }

    /// The weights with which past steps count after `updates` updates, if none was skipped.
    ///
    /// Logs a warning if an EMA of an f32 model would [stall](Self::stalls_below) at a difference of more than 0.05%.
    ///
    /// # Errors
    ///
    /// If the configuration is not [valid](Self::validate), a custom schedule gives a decay outside `[0, 1]`, or there are too
    /// many updates to list.
    pub fn profile(&self, updates: u64) -> Result<Profile, EmaError> {
        self.validate()?;
        let profile = self.schedule().profile(&self.decay, updates)?;
        let last = updates.checked_sub(1);
        let stalls_below = last.map_or(Ok(0.0), |last| self.stalls_below(DType::F32, last))?;
        if stalls_below > NOTABLE_STALL {
            log::warn!(
                "after {updates} updates an EMA of an f32 model stalls where it differs from the model by less than {:.2}%, because \
                 rounding loses the update: use a longer interval with a lower decay, or EmaPrecision::Compensated",
                100.0 * stalls_below
            );
        }
        Ok(profile)
    }

    /// The relative difference to the model below which rounding loses an update, so that the EMA stalls.
    ///
    /// It holds for the update after `updates` updates, for a model of dtype `model`: half a unit in the last place of the EMA
    /// divided by the weight of the update; 0 if that weight is 0. An EMA in stochastically rounded bf16 stalls as one in f32.
    ///
    /// In f32 at a decay of 0.9999 the result is 0.0006: if a parameter stays at 1.001, an EMA that starts at 1 stops at
    /// 1.0004. A longer [interval](Self::interval) with a lower decay lowers the difference, and so do
    /// [`EmaPrecision::F64`] and [`Compensated`](EmaPrecision::Compensated).
    ///
    /// # Errors
    ///
    /// If the configuration is not [valid](Self::validate), or a custom schedule gives a decay outside `[0, 1]`.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::tensor::DType;
    /// use burn_ema::config::EmaPrecision;
    /// use burn_ema::{Decay, EmaConfig};
    ///
    /// let config = EmaConfig::new().with_decay(Decay::constant(0.9999));
    /// assert!((config.stalls_below(DType::F32, 0)? - 5.96e-4).abs() < 1e-6);
    /// let precise = config.with_precision(EmaPrecision::F64);
    /// assert!(precise.stalls_below(DType::F32, 0)? < 2e-12);
    /// let compensated = precise.with_precision(EmaPrecision::Compensated);
    /// assert!(compensated.stalls_below(DType::F32, 0)? < 1e-10);
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    pub fn stalls_below(&self, model: DType, updates: u64) -> Result<f64, EmaError> {
        self.validate()?;
        let at = Progress {
            updates,
            interval: self.interval,
        };
        let weight = 1.0 - self.decay.try_decay(at)?;
        let unit = self
            .precision
            .of(model)
            .finfo()
            .map_or(0.0, |info| info.epsilon);
        let unit = match self.precision {
            EmaPrecision::Compensated => unit * unit,
            // The sum is one of f32 before it is rounded at random.
            EmaPrecision::StochasticBf16 { .. } => f64::from(f32::EPSILON),
            _ => unit,
        };
        Ok(match weight == 0.0 {
            true => 0.0,
            false => 0.5 * unit / weight,
        })
    }

    /// Checks every field that can be checked without a model.
    ///
    /// # Errors
    ///
    /// For the first field that is off.
    pub fn validate(&self) -> Result<(), EmaError> {
        if self.interval == 0 {
            return Err(EmaError::InvalidConfig {
                field: "interval",
                problem: "0 steps between two updates: write at least 1".into(),
            });
        }
        self.decay.validate()?;
        match self.write_back {
            Some(write_back) => write_back.validate(self.schedule()),
            None => Ok(()),
        }
    }

    /// Checks that `write_back` is not set, for models that are computed when they are read.
    pub(crate) fn check_no_write_back(&self) -> Result<(), EmaError> {
        match self.write_back {
            None => Ok(()),
            Some(_) => Err(EmaError::InvalidConfig {
                field: "write_back",
                problem:
                    "BEMA, the double EMA and the window are not written back: remove `write_back` from the configuration"
                        .into(),
            }),
        }
    }

    /// Start and interval.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            start: self.start,
            interval: self.interval,
        }
    }

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules {
            decay: &self.decay,
            schedule: self.schedule(),
            non_finite: self.non_finite,
            weight: 1.0,
        }
    }
}
