//! The configuration of an average, which saves to and loads from JSON.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{Decay, EmaError, EmaModel, Policy, Rule, Schedule, Switch};

/// Configuration of an [`EmaModel`].
///
/// # Example
///
/// ```
/// use burn::config::Config;
/// use burn_ema::{Decay, EmaConfig, NonFinite};
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
pub struct EmaConfig {
    /// How much of the old average an update keeps. Default: 0.999 at every update.
    pub decay: Decay,
    /// Number of optimizer steps during which the average stays a copy of the source. Default: 0.
    pub start: u64,
    /// Number of optimizer steps from one average to the next, at least 1. Default: 1.
    pub interval: u64,
    /// Which values are averaged, copied or left alone.
    pub policy: Policy,
    /// The dtype in which the average is kept. Default: at least 32 bits.
    pub shadow_dtype: ShadowDType,
    /// What happens when the source holds NaN or infinity. Default: propagate.
    pub non_finite: NonFinite,
    /// What happens when a record without an average is loaded. Default: an error.
    pub plain_record: PlainRecord,
    /// When the average is written back into the model that is trained. Default: never. `EmaLearner` does it; in a loop
    /// of your own call [`switch_if_due`](EmaModel::switch_if_due) after each update.
    pub switch: Option<Switch>,
}

/// A file need not name every field: what it leaves out has its default.
impl Config for EmaConfig {}

impl Default for EmaConfig {
    fn default() -> Self {
        Self {
            decay: Decay::constant(0.999),
            start: 0,
            interval: 1,
            policy: Policy::new(),
            shadow_dtype: ShadowDType::Wide,
            non_finite: NonFinite::Propagate,
            plain_record: PlainRecord::Refuse,
            switch: None,
        }
    }
}

/// The dtype in which float values of the average are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ShadowDType {
    /// That of the source, but f32 where the source has f16 or bf16. With 8 bits of precision an
    /// update of a thousandth rounds to nothing, and the average never moves.
    Wide,
    /// That of the source, whatever it is.
    Source,
}

/// What an update does when a value that it would average is NaN or infinite in the source.
///
/// `Skip` and `Error` read the source once more, since nothing may change before all of it is known to be finite: 16
/// bytes go through memory for a value in f32, in place of 12. A GPU is waited for once per update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NonFinite {
    /// Average it. One such value stays in the average for good.
    Propagate,
    /// Leave the average as it is and count the step as [skipped](EmaModel::num_skipped).
    Skip,
    /// Return [`EmaError::NonFinite`] and leave everything as it is.
    Error,
}

/// What happens when a record of a plain model, without an average, is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlainRecord {
    /// An error.
    Refuse,
    /// The average starts from the weights of the record, with all counters at 0.
    StartFrom,
}

impl EmaConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the [decay rule](Self::decay).
    pub fn with_decay(mut self, decay: Decay) -> Self {
        self.decay = decay;
        self
    }

    /// Sets the number of steps that [only copy](Self::start).
    pub fn with_start(mut self, start: u64) -> Self {
        self.start = start;
        self
    }

    /// Sets the number of steps from [one average to the next](Self::interval).
    pub fn with_interval(mut self, interval: u64) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [what is averaged](Self::policy).
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the [dtype of the average](Self::shadow_dtype).
    pub fn with_shadow_dtype(mut self, dtype: ShadowDType) -> Self {
        self.shadow_dtype = dtype;
        self
    }

    /// Sets what happens at [NaN and infinity](Self::non_finite).
    pub fn with_non_finite(mut self, non_finite: NonFinite) -> Self {
        self.non_finite = non_finite;
        self
    }

    /// Sets what happens to [records without an average](Self::plain_record).
    pub fn with_plain_record(mut self, plain_record: PlainRecord) -> Self {
        self.plain_record = plain_record;
        self
    }

    /// Writes the average [back into the model](Self::switch) now and then: in a loop of your own, when
    /// [`switch_if_due`](EmaModel::switch_if_due) is called after each update.
    pub fn with_switch(mut self, switch: Switch) -> Self {
        self.switch = Some(switch);
        self
    }

    /// Makes an average that starts as a copy of `source`, on the devices that `source` is on.
    ///
    /// The average shares the source's memory until one of them changes; only what is of half precision
    /// is copied, as f32.
    ///
    /// # Panics
    ///
    /// Where [`try_init`](Self::try_init) returns an error.
    pub fn init<M: Module>(&self, source: &M) -> EmaModel<M> {
        self.try_init(source)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`init`](Self::init), fallible.
    ///
    /// # Errors
    ///
    /// If the configuration is not [valid](Self::validate), or a parameter has too many dimensions.
    pub fn try_init<M: Module>(&self, source: &M) -> Result<EmaModel<M>, EmaError> {
        EmaModel::new(self, source, None)
    }

    /// Makes an average that lives on `device`, whatever device `source` is on or moves to.
    ///
    /// Use it to keep the average out of a GPU's memory. Each update then moves the source's values
    /// to `device`.
    ///
    /// # Errors
    ///
    /// Those of [`try_init`](Self::try_init).
    pub fn try_init_on<M: Module>(
        &self,
        source: &M,
        device: &Device,
    ) -> Result<EmaModel<M>, EmaError> {
        EmaModel::new(self, source, Some(device.clone().without_autodiff()))
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`EmaError::InvalidConfig`] or [`EmaError::InvalidDecay`] for the first that is off.
    pub fn validate(&self) -> Result<(), EmaError> {
        if self.interval == 0 {
            return Err(EmaError::InvalidConfig {
                field: "interval",
                problem: "0 steps between two averages: write at least 1".into(),
            });
        }
        self.decay.validate()?;
        self.policy.validate()?;
        self.switch.map_or(Ok(()), |switch| switch.validate())
    }

    pub(crate) fn schedule(&self) -> Schedule {
        Schedule {
            start: self.start,
            interval: self.interval,
        }
    }
}
