//! torch.optim.swa_utils.

use serde::{Deserialize, Serialize};

use crate::decay::known::Decay;
use crate::error::RulesError;
use crate::presets::convert::constant;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// torch's `AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))`: the first call of `update_parameters` copies,
/// and each later call averages.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{Preset, TorchEma};
///
/// assert_eq!(TorchEma::default().decay()?, Decay::constant(0.999).copy_first(1));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TorchEma {
    /// `decay` of `get_ema_multi_avg_fn`, in `[0, 1]`. Default: 0.999.
    pub decay: f64,
    /// `use_buffers`. Default: false, buffers are copied.
    pub use_buffers: bool,
}

impl Default for TorchEma {
    fn default() -> Self {
        Self {
            decay: 0.999,
            use_buffers: false,
        }
    }
}

impl Preset for TorchEma {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = constant("TorchEma", "decay", self.decay)?;
        Settings::of_all_floats(decay.copy_first(1), self.use_buffers).checked()
    }
}

/// torch's `AveragedModel(model)`: the mean of the weights at each call of `update_parameters` (SWA).
///
/// Set start and interval to the steps at which your script calls `update_parameters`. Where the script calls `update_bn`,
/// re-estimate the running statistics at the end of the run.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{Preset, TorchSwa};
///
/// assert_eq!(TorchSwa::default().decay()?, Decay::equal_weights());
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TorchSwa {
    /// `use_buffers`. Default: false, buffers are copied.
    pub use_buffers: bool,
}

impl Preset for TorchSwa {
    fn settings(&self) -> Result<Settings, RulesError> {
        Settings::of_all_floats(Decay::equal_weights(), self.use_buffers).checked()
    }
}
