//! EDM2 (NVlabs).

use super::{Peer, all_floats};
use crate::{Clock, Decay, EmaConfig, EmaError, ImageRampUp, Ticks};

/// One of the averages of EDM2's `PowerFunctionEMA`: see [`PowerFunction`](crate::PowerFunction). It tracks
/// several widths at once, as [`EmaSet`](crate::EmaSet) does. Buffers are copied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edm2Power {
    /// One of `stds`, default 0.05.
    pub std: f64,
}

impl Default for Edm2Power {
    fn default() -> Self {
        Self { std: 0.05 }
    }
}

impl Peer for Edm2Power {
    fn decay(&self) -> Result<Decay, EmaError> {
        Decay::try_sigma_rel(self.std)
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        Ok(EmaConfig::new()
            .with_decay(self.decay()?)
            .with_policy(all_floats(false)))
    }
}

/// EDM2's `TraditionalEMA`: [`ImageRampUp`], where the images of the step that was just taken are among those
/// seen. Buffers are copied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edm2Traditional {
    /// `halflife_Mimg`, millions of images. Default none, which is infinity there: the half-life grows for good.
    pub halflife_mimg: Option<f64>,
    /// `rampup_ratio`, default 0.09.
    pub rampup_ratio: Option<f64>,
    /// Images in a step over all devices, default 2048.
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

impl Peer for Edm2Traditional {
    fn decay(&self) -> Result<Decay, EmaError> {
        let rule = ImageRampUp {
            half_life: self.halflife_mimg.map(|millions| millions * 1e6),
            ramp_up: self.rampup_ratio,
            batch_size: self.batch_size,
            clock: Clock {
                ticks: Ticks::Steps,
                inclusive: true,
                offset: 0,
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
