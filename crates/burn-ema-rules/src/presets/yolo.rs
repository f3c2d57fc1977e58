//! YOLOv5 and ultralytics.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::clock::Clock;
use crate::decay::exponential_warmup::ExponentialWarmup;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// `ModelEMA` of YOLOv5 and ultralytics: an [`ExponentialWarmup`] that counts from 1. Buffers are averaged.
///
/// Difference: integers are stale in YOLO and its checkpoints hold f16; this preset copies integers.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Preset, Yolo};
///
/// let decay = Yolo::default().decay()?;
/// let first = decay.decay(Progress { updates: 0, interval: 1 });
/// assert!((first - 0.9999 * (1.0 - (-1.0_f64 / 2000.0).exp())).abs() < 1e-15);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Yolo {
    /// `decay`, in `[0, 1]`. Default: 0.9999.
    pub decay: f64,
    /// `tau`, finite and positive. Default: 2000.
    pub tau: f64,
}

impl Default for Yolo {
    fn default() -> Self {
        Self {
            decay: 0.9999,
            tau: 2000.0,
        }
    }
}

impl Preset for Yolo {
    fn settings(&self) -> Result<Settings, RulesError> {
        Checks::of("Yolo").share("decay", self.decay).done()?;
        let decay = ExponentialWarmup {
            max: self.decay,
            tau: self.tau,
            clock: Clock {
                inclusive: true,
                ..Clock::default()
            },
        };
        Settings::of_all_floats(decay.into(), true).checked()
    }
}
