//! StyleGAN 2 and 3 (NVlabs).

use super::{Peer, all_floats};
use crate::{Clock, Decay, EmaConfig, EmaError, ImageRampUp, Ticks};

/// The average of the generator in the training loops of StyleGAN 2 (ADA) and 3: [`ImageRampUp`], where the
/// images of the step that was just taken are not yet among those seen. Buffers are copied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StyleGan {
    /// `ema_kimg`, default 10.
    pub ema_kimg: f64,
    /// `ema_rampup`, default 0.05.
    pub ema_rampup: Option<f64>,
    /// `batch_size` over all devices, default 4.
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

impl Peer for StyleGan {
    fn decay(&self) -> Result<Decay, EmaError> {
        let rule = ImageRampUp {
            half_life: Some(self.ema_kimg * 1000.0),
            ramp_up: self.ema_rampup,
            batch_size: self.batch_size,
            clock: Clock {
                ticks: Ticks::Steps,
                ..Clock::default()
            },
        };
        Decay::from(rule).checked()
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new()
            .with_decay(self.decay()?)
            .with_policy(all_floats(false)))
    }
}
