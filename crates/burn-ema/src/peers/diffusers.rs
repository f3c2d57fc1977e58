//! diffusers (huggingface).

use super::{Peer, delay};
use crate::rule::Checks;
use crate::{Clock, Decay, EmaConfig, EmaError, PowerWarmup, TfRamp};

/// diffusers' `EMAModel`: copies up to and with call `update_after_step + 1`, then a [`PowerWarmup`] with
/// `use_ema_warmup`, and otherwise a [`TfRamp`]: a plain constant cannot be asked for there. Frozen parameters
/// are copied; buffers are not tracked there, and copied here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diffusers {
    /// `decay`, default 0.9999.
    pub decay: f64,
    /// `min_decay`, default 0.
    pub min_decay: f64,
    /// `update_after_step`, default 0.
    pub update_after_step: u64,
    /// `use_ema_warmup`, default false.
    pub use_ema_warmup: bool,
    /// `inv_gamma`, default 1.
    pub inv_gamma: f64,
    /// `power`, default 2/3.
    pub power: f64,
}

impl Default for Diffusers {
    fn default() -> Self {
        Self {
            decay: 0.9999,
            min_decay: 0.0,
            update_after_step: 0,
            use_ema_warmup: false,
            inv_gamma: 1.0,
            power: 2.0 / 3.0,
        }
    }
}

impl Peer for Diffusers {
    fn decay(&self) -> Result<Decay, EmaError> {
        Checks::of("Diffusers").decay("decay", self.decay).done()?;
        let clock = Clock {
            offset: delay(self.update_after_step),
            ..Clock::default()
        };
        let warmup = Decay::from(PowerWarmup {
            power: self.power,
            inv_gamma: self.inv_gamma,
            min: self.min_decay,
            max: self.decay,
            clock,
        })
        .checked()?;
        if self.use_ema_warmup {
            return Ok(warmup);
        }
        let ramp = TfRamp {
            max: self.decay,
            min: self.min_decay,
            factor: 10.0,
            clock,
        };
        let copies = self.update_after_step.saturating_add(1);
        Ok(Decay::from(ramp).checked()?.copy_first(copies))
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new().with_decay(self.decay()?))
    }
}
