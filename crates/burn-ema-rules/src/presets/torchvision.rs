//! torchvision's reference scripts.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::weight::Weight;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// `--model-ema` of torchvision's `references/classification/train.py`: a decay for a standard batch size and length of a
/// run, adjusted so that the window is the same share of any run. The decay is
/// `1 - (1 - decay) * world_size * batch_size * ema_steps / epochs`, and at least 0.
///
/// The first step copies, then every `ema_steps`-th step updates. Buffers are averaged. Difference: torchvision restarts
/// the count of steps in each epoch, so the distance of two updates differs at the end of an epoch.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Preset, Torchvision};
///
/// // 32 steps of 32 images count 0.00002 * 32 * 32 / 100 in a run of 100 epochs.
/// let torchvision = Torchvision { batch_size: 32, epochs: 100, ..Torchvision::default() };
/// let decay = torchvision.decay()?.decay(Progress { updates: 5, interval: 32 });
/// assert!((decay - (1.0 - 0.00002 * 32.0 * 32.0 / 100.0)).abs() < 1e-12);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Torchvision {
    /// `--model-ema-decay`, in `[0, 1]`. Default: 0.99998.
    pub decay: f64,
    /// `--model-ema-steps`, at least 1. Default: 32.
    pub ema_steps: u64,
    /// `--batch-size` of each process, at least 1. Default: 32.
    pub batch_size: u64,
    /// Number of processes, at least 1. Default: 1.
    pub world_size: u64,
    /// `--epochs`, at least 1. Default: 90.
    pub epochs: u64,
    /// Number of steps of the learning rate warm-up (`--lr-warmup-epochs`), which copy. Default: 0.
    pub lr_warmup_steps: u64,
}

impl Default for Torchvision {
    fn default() -> Self {
        Self {
            decay: 0.99998,
            ema_steps: 32,
            batch_size: 32,
            world_size: 1,
            epochs: 90,
            lr_warmup_steps: 0,
        }
    }
}

impl Preset for Torchvision {
    fn settings(&self) -> Result<Settings, RulesError> {
        Checks::of("Torchvision")
            .share("decay", self.decay)
            .warn_of_weight("decay", self.decay)
            .positive("ema_steps", self.ema_steps as f64)
            .positive("batch_size", self.batch_size as f64)
            .positive("world_size", self.world_size as f64)
            .positive("epochs", self.epochs as f64)
            .done()?;
        let images = self.world_size as f64 * self.batch_size as f64 * self.ema_steps as f64;
        let weight = (1.0 - self.decay) * (images / self.epochs as f64);
        let weight = weight.min(1.0);
        Settings {
            start: self.lr_warmup_steps.saturating_add(1),
            interval: self.ema_steps,
            ..Settings::of_all_floats(Weight { weight }.into(), true)
        }
        .checked()
    }
}
