//! Keras.

use serde::{Deserialize, Serialize};

use crate::error::RulesError;
use crate::presets::convert::constant;
use crate::presets::preset::Preset;
use crate::presets::settings::{Settings, WriteBackSettings};

/// A Keras optimizer with `use_ema=True`: the first step copies, and each later step averages the trainable parameters.
/// Every `ema_overwrite_frequency` steps the EMA is written back into the online model.
///
/// # Example
///
/// ```
/// use burn_ema_rules::presets::{Keras, Preset};
///
/// let keras = Keras { ema_overwrite_frequency: Some(100), ..Keras::default() };
/// assert_eq!(keras.settings()?.write_back.unwrap().every, 100);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keras {
    /// `ema_momentum`, in `[0, 1]`. Default: 0.99. Despite its name this number is a *decay*.
    pub ema_momentum: f64,
    /// `ema_overwrite_frequency`, at least 1. Default: none.
    pub ema_overwrite_frequency: Option<u64>,
}

impl Default for Keras {
    fn default() -> Self {
        Self {
            ema_momentum: 0.99,
            ema_overwrite_frequency: None,
        }
    }
}

impl Preset for Keras {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = constant("Keras", "ema_momentum", self.ema_momentum)?.copy_first(1);
        let write_back = |every| WriteBackSettings {
            every,
            start: 0,
            keep: 0.0,
        };
        Settings {
            write_back: self.ema_overwrite_frequency.map(write_back),
            ..Settings::new(decay)
        }
        .checked()
    }
}
