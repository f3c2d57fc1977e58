//! The trait of all presets.

use crate::decay::known::Decay;
use crate::error::RulesError;
use crate::presets::settings::Settings;

/// Converts the arguments of another framework into the [`Settings`] of an EMA.
///
/// # Example
///
/// ```
/// use burn_ema_rules::presets::{Buffers, Preset, TimmV3};
///
/// // ModelEmaV3(model, decay=0.9998, use_warmup=True)
/// let settings = TimmV3 { decay: 0.9998, use_warmup: true, ..TimmV3::default() }.settings()?;
/// assert_eq!((settings.start, settings.interval), (0, 1));
/// assert_eq!(settings.buffers, Buffers::Average);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
pub trait Preset {
    /// The decay schedule with the update schedule and the treatment of buffers that belong to it.
    ///
    /// # Errors
    ///
    /// [`RulesError`] if an argument is outside its range.
    fn settings(&self) -> Result<Settings, RulesError>;

    /// The decay schedule alone, for updates after the [`start`](Settings::start) of the settings. Where that start is not
    /// 0, the first call of the framework is a copy, and is one of the steps before the start.
    ///
    /// # Errors
    ///
    /// [`RulesError`] if an argument is outside its range.
    fn decay(&self) -> Result<Decay, RulesError> {
        self.settings().map(|settings| settings.decay)
    }
}
