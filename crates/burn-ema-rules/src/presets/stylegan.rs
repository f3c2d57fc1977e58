//! StyleGAN 2 and 3 (NVlabs).

use serde::{Deserialize, Serialize};

use crate::decay::clock::{Clock, Ticks};
use crate::decay::image_ramp_up::ImageRampUp;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// The EMA of the generator (`G_ema`) in the training loops of StyleGAN 2 (ADA) and 3: an [`ImageRampUp`] that does not
/// count the images of the current step as seen. Buffers are copied.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Preset, StyleGan};
///
/// let decay = StyleGan { batch_size: 32, ..StyleGan::default() }.decay()?;
/// assert_eq!(decay.decay(Progress { updates: 1, interval: 1 }), 0.5_f64.powi(20));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[doc(alias = "G_ema")]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StyleGan {
    /// `ema_kimg`, in thousands of images, finite and positive. Default: 10.
    pub ema_kimg: f64,
    /// `ema_rampup`, finite and positive. Default: 0.05.
    pub ema_rampup: Option<f64>,
    /// `batch_size` over all devices, at least 1. Default: 4.
    pub batch_size: u64,
}

impl Default for StyleGan {
    fn default() -> Self {
        Self {
            ema_kimg: 10.0,
            ema_rampup: Some(0.05),
            batch_size: 4,
        }
    }
}

impl Preset for StyleGan {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = ImageRampUp {
            half_life_images: Some(self.ema_kimg * 1000.0),
            ramp_up: self.ema_rampup,
            batch_size: self.batch_size,
            clock: Clock {
                ticks: Ticks::Steps,
                ..Clock::default()
            },
        };
        Settings::of_all_floats(decay.into(), false).checked()
    }
}
