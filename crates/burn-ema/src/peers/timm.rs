//! timm (huggingface/pytorch-image-models).

use super::{Peer, all_floats, delay};
use crate::rule::Checks;
use crate::{Clock, Decay, EmaConfig, EmaError, PowerWarmup};

/// timm's `ModelEmaV2`: a constant decay, averaged at each step from the weights at construction on. Buffers are
/// averaged. (Integers are truncated there and copied here.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimmV2 {
    /// `decay`, default 0.9999.
    pub decay: f64,
}

impl Default for TimmV2 {
    fn default() -> Self {
        Self { decay: 0.9999 }
    }
}

impl Peer for TimmV2 {
    fn decay(&self) -> Result<Decay, EmaError> {
        Decay::try_constant(self.decay)
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new()
            .with_decay(self.decay()?)
            .with_policy(all_floats(true)))
    }
}

/// timm's `ModelEmaV3`: copies up to and with update `update_after_step + 1`, then a constant decay, or a
/// [`PowerWarmup`] that counts from there.
///
/// timm is told the step by its caller, and its training script counts optimizer steps from 1, as we do.
///
/// # Example
///
/// ```
/// use burn_ema::peers::TimmV3;
/// use burn_ema::{Decay, Moment, Rule};
///
/// let rule = Decay::timm_v3(TimmV3 { use_warmup: true, update_after_step: 10, ..TimmV3::default() });
/// let decay = |step: u64| rule.decay(Moment { updates: step - 1, interval: 1 });
/// assert_eq!(decay(11), 0.0);
/// assert_eq!(decay(12), 1.0 - 2.0_f64.powf(-2.0 / 3.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimmV3 {
    /// `decay`, default 0.9999.
    pub decay: f64,
    /// `min_decay`, default 0.
    pub min_decay: f64,
    /// `update_after_step`, default 0.
    pub update_after_step: u64,
    /// `use_warmup`, default false.
    pub use_warmup: bool,
    /// `warmup_gamma`, default 1.
    pub warmup_gamma: f64,
    /// `warmup_power`, default 2/3.
    pub warmup_power: f64,
    /// `exclude_buffers`, default false: buffers are averaged.
    pub exclude_buffers: bool,
}

impl Default for TimmV3 {
    fn default() -> Self {
        Self {
            decay: 0.9999,
            min_decay: 0.0,
            update_after_step: 0,
            use_warmup: false,
            warmup_gamma: 1.0,
            warmup_power: 2.0 / 3.0,
            exclude_buffers: false,
        }
    }
}

impl Peer for TimmV3 {
    fn decay(&self) -> Result<Decay, EmaError> {
        Checks::of("TimmV3").decay("decay", self.decay).done()?;
        let warmup = Decay::from(PowerWarmup {
            power: self.warmup_power,
            inv_gamma: self.warmup_gamma,
            min: self.min_decay,
            max: self.decay,
            clock: Clock {
                offset: delay(self.update_after_step),
                ..Clock::default()
            },
        })
        .checked()?;
        match self.use_warmup {
            true => Ok(warmup),
            false => {
                let copies = self.update_after_step.saturating_add(1);
                Ok(Decay::try_constant(self.decay)?.copy_first(copies))
            }
        }
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new()
            .with_decay(self.decay()?)
            .with_policy(all_floats(!self.exclude_buffers)))
    }
}
