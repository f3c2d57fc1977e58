//! The configuration of several averages.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::EmaSet;
use crate::{EmaConfig, EmaError};

/// Configuration of an [`EmaSet`]: an [`EmaConfig`] for each average, under a name.
///
/// # Example
///
/// ```
/// use burn::config::Config;
/// use burn_ema::{Decay, EmaConfig, EmaSetConfig};
///
/// // The two averages of EDM2.
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
pub struct EmaSetConfig {
    /// The averages, at least one.
    pub averages: Vec<NamedConfig>,
}

/// One average of an [`EmaSetConfig`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedConfig {
    /// Its name, which is part of paths in records and logs: anything without a dot or slash. May be empty if it is the only one; the
    /// record is then that of an [`EmaModel`](crate::EmaModel).
    pub name: String,
    /// Its configuration.
    pub config: EmaConfig,
}

impl Config for EmaSetConfig {}

/// One average without a name.
impl From<EmaConfig> for EmaSetConfig {
    fn from(config: EmaConfig) -> Self {
        Self::new().with("", config)
    }
}

impl EmaSetConfig {
    /// No averages yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an average.
    pub fn with(mut self, name: impl Into<String>, config: EmaConfig) -> Self {
        let name = name.into();
        self.averages.push(NamedConfig { name, config });
        self
    }

    /// The names of the averages, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.averages.iter().map(|average| average.name.as_str())
    }

    /// Makes the averages, each of which starts as a copy of `source`.
    ///
    /// # Panics
    ///
    /// Where [`try_init`](Self::try_init) returns an error.
    pub fn init<M: Module>(&self, source: &M) -> EmaSet<M> {
        self.try_init(source)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`init`](Self::init), fallible.
    ///
    /// # Errors
    ///
    /// If the configuration is not [valid](Self::validate), or a parameter has too many dimensions.
    pub fn try_init<M: Module>(&self, source: &M) -> Result<EmaSet<M>, EmaError> {
        EmaSet::new(self, |config| config.try_init(source))
    }

    /// Makes averages that live on `device`, whatever device `source` is on or moves to.
    ///
    /// # Errors
    ///
    /// Those of [`try_init`](Self::try_init).
    pub fn try_init_on<M: Module>(
        &self,
        source: &M,
        device: &Device,
    ) -> Result<EmaSet<M>, EmaError> {
        EmaSet::new(self, |config| config.try_init_on(source, device))
    }

    /// Checks the names, and every configuration.
    ///
    /// # Errors
    ///
    /// [`EmaError::InvalidSet`], or what an [`EmaConfig`] is refused with, for the first that is off.
    pub fn validate(&self) -> Result<(), EmaError> {
        let refuse = |problem: String| Err(EmaError::InvalidSet { problem });
        if self.averages.is_empty() {
            return refuse("there are no averages: add one with `with(name, config)`".into());
        }
        for (index, average) in self.averages.iter().enumerate() {
            let name = &average.name;
            // Burn's logs do not tell a space from an underscore.
            let in_logs = |name: &str| name.replace(' ', "_");
            let mut before = self.names().take(index);
            if before.any(|other| in_logs(other) == in_logs(name)) {
                return refuse(format!(
                    "the name `{name}` is there twice: give each average a name of its own"
                ));
            }
            if name == "online" {
                return refuse(
                    "`online` is the name of the weights that are trained: write another".into(),
                );
            }
            if name.contains(['.', '/', '\\']) || (name.is_empty() && self.averages.len() > 1) {
                return refuse(format!(
                    "`{name}` is no name for an average, which is part of paths: write something without a dot \
                     or slash"
                ));
            }
            average.config.validate()?;
        }
        let switching = self.averages.iter();
        match switching.filter(|a| a.config.switch.is_some()).count() {
            0 | 1 => Ok(()),
            _ => {
                refuse("more than one has a `switch`: the online model can follow one only".into())
            }
        }
    }
}
