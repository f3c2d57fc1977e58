//! The configuration of several EMAs.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::EmaError;
use crate::model::config::EmaConfig;
use crate::model::set::EmaSet;

/// Configuration of an [`EmaSet`]: an [`EmaConfig`] for each EMA, under a name.
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
    /// Its configuration.
    pub config: EmaConfig,
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
    pub fn with(mut self, name: impl Into<String>, config: EmaConfig) -> Self {
        let name = name.into();
        self.emas.push(NamedConfig { name, config });
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
            ema.config.validate()?;
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
