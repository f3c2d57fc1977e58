//! The configuration of several EMAs.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Device;
use burn_ema_rules::bema::Bema;
use serde::{Deserialize, Serialize};

pub use crate::set::average::AverageKind;

use crate::error::EmaError;
use crate::model::config::EmaConfig;
use crate::set::EmaSet;
use crate::window::Window;

/// Configuration of an [`EmaSet`]: an [`EmaConfig`] for each average, under a name.
///
/// # Example
///
/// ```
/// use burn::config::Config;
/// use burn_ema::{Decay, EmaConfig, EmaSetConfig};
///
/// // The two EMAs of EDM2.
/// let config = EmaSetConfig::new()
///     .with("narrow", EmaConfig::new().with_decay(Decay::sigma_rel(0.05)))
///     .with("wide", EmaConfig::new().with_decay(Decay::sigma_rel(0.10)));
///
/// let json = burn::config::config_to_json(&config);
/// let loaded = EmaSetConfig::load_binary(json.as_bytes()).unwrap();
/// assert_eq!(loaded.names().collect::<Vec<_>>(), ["narrow", "wide"]);
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EmaSetConfig {
    /// The EMAs, at least one.
    pub emas: Vec<NamedConfig>,
}

/// One EMA of an [`EmaSetConfig`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NamedConfig {
    /// Its name, which is part of paths in records and logs: anything without a dot or slash. May be empty if it is the only
    /// one; the record is then that of an [`EmaModel`](crate::EmaModel).
    pub name: String,
    /// Its configuration. BEMA does not use its decay, start and interval, and a window not its decay.
    pub config: EmaConfig,
    /// What it averages. Default: an EMA of the weights.
    #[serde(default)]
    pub kind: AverageKind,
}

impl Config for EmaSetConfig {}

impl std::fmt::Display for EmaSetConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&burn::config::config_to_json(self))
    }
}

/// One EMA without a name.
impl From<EmaConfig> for EmaSetConfig {
    fn from(config: EmaConfig) -> Self {
        Self::new().with("", config)
    }
}

impl EmaSetConfig {
    /// No EMAs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an EMA.
    #[must_use]
    pub fn with(self, name: impl Into<String>, config: EmaConfig) -> Self {
        self.with_kind(name, config, AverageKind::Ema)
    }

    /// Adds [BEMA](crate::lag::BemaModel), whose decay, start and interval come from `bema`.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn_ema::lag::Bema;
    /// use burn_ema::{Decay, EmaConfig, EmaSetConfig};
    ///
    /// let model = LinearConfig::new(2, 1).init(&Default::default());
    /// let mut averages = EmaSetConfig::new()
    ///     .with("ema", EmaConfig::new().with_decay(Decay::half_life(100.0)))
    ///     .with_bema("bema", Bema::trl(), EmaConfig::new())
    ///     .init(&model);
    /// averages.update(&model)?;
    /// let to_evaluate = averages.model("bema", &model)?;
    /// # Ok::<(), burn_ema::EmaError>(())
    /// ```
    #[must_use]
    pub fn with_bema(self, name: impl Into<String>, bema: Bema, config: EmaConfig) -> Self {
        self.with_kind(name, config, AverageKind::Bema(bema))
    }

    /// Adds a [double EMA](crate::lag::DemaModel).
    #[must_use]
    pub fn with_dema(self, name: impl Into<String>, config: EmaConfig) -> Self {
        self.with_kind(name, config, AverageKind::Dema)
    }

    /// Adds the [mean of a window](crate::window::WindowModel). The decay of `config` is not used.
    #[must_use]
    pub fn with_window(self, name: impl Into<String>, window: Window, config: EmaConfig) -> Self {
        self.with_kind(name, config, AverageKind::Window(window))
    }

    pub(super) fn with_kind(
        mut self,
        name: impl Into<String>,
        config: EmaConfig,
        kind: AverageKind,
    ) -> Self {
        let name = name.into();
        self.emas.push(NamedConfig { name, config, kind });
        self
    }

    /// The names of the EMAs, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.emas.iter().map(|ema| ema.name.as_str())
    }

    /// Creates the EMAs, each of which starts as a copy of `model`.
    ///
    /// # Panics
    ///
    /// Where [`try_init`](Self::try_init) returns an error.
    pub fn init<M: Module>(&self, model: &M) -> EmaSet<M> {
        self.try_init(model)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`init`](Self::init), fallible.
    ///
    /// # Errors
    ///
    /// If the configuration is not [valid](Self::validate), or one of the EMAs cannot be created: see
    /// [`EmaConfig::try_init`].
    pub fn try_init<M: Module>(&self, model: &M) -> Result<EmaSet<M>, EmaError> {
        EmaSet::new(self, |config| config.try_init(model))
    }

    /// Creates EMAs that are kept on `device`, whatever device `model` is on or moves to.
    ///
    /// # Panics
    ///
    /// Where [`try_init_on`](Self::try_init_on) returns an error.
    pub fn init_on<M: Module>(&self, model: &M, device: &Device) -> EmaSet<M> {
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
    ) -> Result<EmaSet<M>, EmaError> {
        EmaSet::new(self, |config| config.try_init_on(model, device))
    }

    /// Checks the names, and every configuration.
    ///
    /// # Errors
    ///
    /// [`EmaError::InvalidSet`], or the error of an [`EmaConfig`], for the first that is off.
    pub fn validate(&self) -> Result<(), EmaError> {
        let invalid = |problem: String| Err(EmaError::InvalidSet { problem });
        if self.emas.is_empty() {
            return invalid("there are no EMAs: add one with `with(name, config)`".into());
        }
        for (index, ema) in self.emas.iter().enumerate() {
            let name = &ema.name;
            if self.names().take(index).any(|other| other == name) {
                return invalid(format!(
                    "two EMAs are called `{name}`: give each its own name"
                ));
            }
            if name.contains(['.', '/', '\\']) || (name.is_empty() && self.emas.len() > 1) {
                return invalid(format!(
                    "`{name}` cannot be the name of an EMA, which is part of paths: write a name without dots and slashes"
                ));
            }
            if name.is_empty() && ema.kind != AverageKind::Ema {
                return invalid(
                    "BEMA, a double EMA and a window are kept in several parts: give the average a name"
                        .into(),
                );
            }
            ema.kind.validate(&ema.config)?;
        }
        let writing = self.emas.iter();
        match writing
            .filter(|ema| ema.config.write_back.is_some())
            .count()
        {
            0 | 1 => Ok(()),
            _ => invalid(
                "several EMAs have a `write_back`, but the online model can follow only one".into(),
            ),
        }
    }
}
