//! EDM2 (NVlabs).

use serde::{Deserialize, Serialize};

use crate::decay::clock::{Clock, Ticks};
use crate::decay::image_ramp_up::ImageRampUp;
use crate::decay::known::Decay;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// One of the EMAs of EDM2's `PowerFunctionEMA`: see [`PowerFunction`](crate::decay::PowerFunction).
///
/// EDM2 tracks several widths at once; use an `EmaSet` of `burn-ema` for that. Buffers are copied.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{Edm2Power, Preset};
///
/// assert_eq!(Edm2Power { std: 0.1 }.decay()?, Decay::sigma_rel(0.1));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edm2Power {
    /// One of `stds`, above 0 and below `1/sqrt(12)`, about 0.2887. Default: 0.05.
    pub std: f64,
}

impl Default for Edm2Power {
    fn default() -> Self {
        Self { std: 0.05 }
    }
}

impl Preset for Edm2Power {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = Decay::try_sigma_rel(self.std)?;
        Settings::of_all_floats(decay, false).checked()
    }
}

/// EDM2's `TraditionalEMA`: an [`ImageRampUp`] that counts the images of the current step as seen. Buffers are copied.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Edm2Traditional, Preset};
///
/// // The half-life of the first step is 0.09 * 2048 images.
/// let decay = Edm2Traditional::default().decay()?;
/// let first = decay.decay(Progress { updates: 0, interval: 1 });
/// assert!((first - 0.5_f64.powf(1.0 / 0.09)).abs() < 1e-15);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edm2Traditional {
    /// `halflife_Mimg`, in millions of images, finite and positive. Default: none, which is infinity in EDM2: the half-life
    /// grows without end.
    pub halflife_mimg: Option<f64>,
    /// `rampup_ratio`, finite and positive. Default: 0.09.
    pub rampup_ratio: Option<f64>,
    /// Number of images in a step over all devices, at least 1. Default: 2048.
    pub batch_size: u64,
}

impl Default for Edm2Traditional {
    fn default() -> Self {
        Self {
            halflife_mimg: None,
            rampup_ratio: Some(0.09),
            batch_size: 2048,
        }
    }
}

impl Preset for Edm2Traditional {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = ImageRampUp {
            half_life_images: self.halflife_mimg.map(|millions| millions * 1e6),
            ramp_up: self.rampup_ratio,
            batch_size: self.batch_size,
            clock: Clock {
                ticks: Ticks::Steps,
                inclusive: true,
                offset: 0,
            },
        };
        Settings::of_all_floats(decay.into(), false).checked()
    }
}
