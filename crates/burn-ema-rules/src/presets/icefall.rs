//! icefall (k2-fsa): speech recognition.

use serde::{Deserialize, Serialize};

use crate::decay::known::Decay;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// icefall's `update_averaged_model`: the mean of the weights at every `average_period`-th batch.
///
/// Its recipes decode with the mean of a range, which two records of such a mean give:
/// [`range_weights`](crate::merge::range_weights).
///
/// # Example
///
/// ```
/// use burn_ema_rules::presets::{Icefall, Preset};
///
/// let settings = Icefall::default().settings()?;
/// let profile = settings.schedule().profile(&settings.decay, 4)?;
/// assert_eq!(profile.steps().collect::<Vec<_>>(), [0, 200, 400, 600, 800]);
/// for (found, expected) in profile.weights().iter().zip([0.0, 0.25, 0.25, 0.25, 0.25]) {
///     assert!((found - expected).abs() < 1e-15);
/// }
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Icefall {
    /// `average_period`, at least 1. Default: 200.
    pub average_period: u64,
}

impl Default for Icefall {
    fn default() -> Self {
        Self {
            average_period: 200,
        }
    }
}

impl Preset for Icefall {
    fn settings(&self) -> Result<Settings, RulesError> {
        Settings {
            interval: self.average_period,
            ..Settings::of_all_floats(Decay::equal_weights(), true)
        }
        .checked()
    }
}
