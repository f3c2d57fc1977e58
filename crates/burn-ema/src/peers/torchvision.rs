//! torchvision's reference scripts.

use super::{Peer, all_floats};
use crate::rule::Checks;
use crate::{Decay, EmaConfig, EmaError, Weight};

/// `--model-ema` of torchvision's `references/classification/train.py`: a decay for a standard batch and length of
/// training, adjusted so that its window is the same share of any training:
/// `1 - (1 - decay) * world_size * batch_size * ema_steps / epochs`, at least 0.
///
/// The first step copies, then every `ema_steps`-th averages. (There steps are counted anew in each epoch, so
/// that the distance of two averages differs at its end.) Buffers are averaged.
///
/// # Example
///
/// ```
/// use burn_ema::peers::Torchvision;
/// use burn_ema::{Decay, Moment, Rule};
///
/// // 32 steps of 32 images count 0.00002 * 32 * 32 / 100 in a training of 100 epochs.
/// let rule = Decay::torchvision(Torchvision { batch_size: 32, epochs: 100, ..Torchvision::default() });
/// let decay = rule.decay(Moment { updates: 5, interval: 32 });
/// assert!((decay - (1.0 - 0.00002 * 32.0 * 32.0 / 100.0)).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Torchvision {
    /// `--model-ema-decay`, default 0.99998.
    pub decay: f64,
    /// `--model-ema-steps`, default 32.
    pub ema_steps: u64,
    /// `--batch-size` of each process, default 32.
    pub batch_size: u64,
    /// Number of processes, default 1.
    pub world_size: u64,
    /// `--epochs`, default 90.
    pub epochs: u64,
    /// Steps of the learning rate's warm-up (`--lr-warmup-epochs`), in which the average stays a copy. Default 0.
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

impl Peer for Torchvision {
    fn decay(&self) -> Result<Decay, EmaError> {
        Checks::of("Torchvision")
            .decay("decay", self.decay)
            .positive("ema_steps", self.ema_steps as f64)
            .positive("batch_size", self.batch_size as f64)
            .positive("world_size", self.world_size as f64)
            .positive("epochs", self.epochs as f64)
            .done()?;
        let images = self.world_size as f64 * self.batch_size as f64 * self.ema_steps as f64;
        let weight = (1.0 - self.decay) * (images / self.epochs as f64);
        Ok(Decay::Weight(Weight {
            weight: weight.min(1.0),
        }))
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new()
            .with_decay(self.decay()?)
            .with_start(self.lr_warmup_steps.saturating_add(1))
            .with_interval(self.ema_steps)
            .with_policy(all_floats(true)))
    }
}
