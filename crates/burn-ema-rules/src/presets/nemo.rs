//! NeMo (NVIDIA).

use serde::{Deserialize, Serialize};

use crate::error::RulesError;
use crate::presets::convert::constant;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// NeMo's `EMA`: a constant decay from the initial weights on, of the trainable parameters.
///
/// Difference: with `every_n_steps` above 1, NeMo updates after steps 1, n + 1, 2n + 1, and this preset after steps n, 2n,
/// 3n.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{Nemo, Preset};
///
/// assert_eq!(Nemo { decay: 0.9999, ..Nemo::default() }.decay()?, Decay::constant(0.9999));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nemo {
    /// `decay`, in `[0, 1]`. Default: 0.999; NeMo has no default.
    pub decay: f64,
    /// `every_n_steps`, at least 1. Default: 1.
    pub every_n_steps: u64,
}

impl Default for Nemo {
    fn default() -> Self {
        Self {
            decay: 0.999,
            every_n_steps: 1,
        }
    }
}

impl Preset for Nemo {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = constant("Nemo", "decay", self.decay)?;
        Settings {
            interval: self.every_n_steps,
            ..Settings::new(decay)
        }
        .checked()
    }
}
