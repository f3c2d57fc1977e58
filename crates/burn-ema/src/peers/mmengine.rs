//! mmengine and mmagic (OpenMMLab): the averaged models. mmagic's hook is in `burn-ema-train`.

use super::{Peer, all_floats, checked};
use crate::rule::Checks;
use crate::{
    Annealing, Clock, Decay, EmaConfig, EmaError, EqualWeights, ImageRampUp, Ticks, Weight,
};

/// mmengine's and mmagic's `ExponentialMovingAverage`, as `EMAHook` runs it.
///
/// `momentum` is the weight of the *new* value, in (0, 1). The first call copies, then every `interval`-th
/// averages; calls before `begin_iter` copy, and so does the one that is the first from there on. (Buffers are
/// copied at each call there, also between two averages; here with the averages.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MmengineEma {
    /// `momentum`, default 0.0002.
    pub momentum: f64,
    /// `interval`, default 1.
    pub interval: u64,
    /// `begin_iter` of `EMAHook`, default 0.
    pub begin_iter: u64,
    /// `update_buffers`, default false: buffers are copied.
    pub update_buffers: bool,
}

impl Default for MmengineEma {
    fn default() -> Self {
        Self {
            momentum: 0.0002,
            interval: 1,
            begin_iter: 0,
            update_buffers: false,
        }
    }
}

impl Peer for MmengineEma {
    fn decay(&self) -> Result<Decay, EmaError> {
        Checks::of("MmengineEma")
            .momentum("momentum", self.momentum)
            .done()?;
        Ok(Decay::Weight(Weight {
            weight: self.momentum,
        }))
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        config(
            self.decay(),
            self.begin_iter,
            self.interval,
            self.update_buffers,
        )
    }
}

/// mmengine's `MomentumAnnealingEMA`: an [`Annealing`] that counts calls, whatever the interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MmengineAnnealing {
    /// `momentum`, default 0.0002.
    pub momentum: f64,
    /// `gamma`, default 100.
    pub gamma: f64,
    /// `interval`, default 1.
    pub interval: u64,
    /// `begin_iter` of `EMAHook`, default 0.
    pub begin_iter: u64,
    /// `update_buffers`, default false: buffers are copied.
    pub update_buffers: bool,
}

impl Default for MmengineAnnealing {
    fn default() -> Self {
        Self {
            momentum: 0.0002,
            gamma: 100.0,
            interval: 1,
            begin_iter: 0,
            update_buffers: false,
        }
    }
}

impl Peer for MmengineAnnealing {
    fn decay(&self) -> Result<Decay, EmaError> {
        let rule = Annealing {
            weight: self.momentum,
            gamma: self.gamma,
            clock: calls(0),
        };
        Decay::from(rule).checked()
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        config(
            self.decay(),
            self.begin_iter,
            self.interval,
            self.update_buffers,
        )
    }
}

/// mmengine's `StochasticWeightAverage`: the mean of the copy at the first call and of all averages since.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MmengineSwa {
    /// `interval`, default 1.
    pub interval: u64,
    /// `begin_iter` of `EMAHook`, default 0.
    pub begin_iter: u64,
    /// `update_buffers`, default false: buffers are copied.
    pub update_buffers: bool,
}

impl Default for MmengineSwa {
    fn default() -> Self {
        Self {
            interval: 1,
            begin_iter: 0,
            update_buffers: false,
        }
    }
}

impl Peer for MmengineSwa {
    fn decay(&self) -> Result<Decay, EmaError> {
        Ok(EqualWeights { prior: 1 }.into())
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        config(
            self.decay(),
            self.begin_iter,
            self.interval,
            self.update_buffers,
        )
    }
}

/// mmagic's `RampUpEMA`: StyleGAN3's ramp, with the images of the step that was just taken among those seen.
///
/// Its `start_iter` is accepted and ignored there; use `begin_iter`. With an interval above 1 the half-life
/// is not corrected there, and so grows by that factor; here it stays what `ema_kimg` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MmagicRampUp {
    /// `ema_kimg`, default 10.
    pub ema_kimg: f64,
    /// `ema_rampup`, default 0.05.
    pub ema_rampup: Option<f64>,
    /// `batch_size`, default 32.
    pub batch_size: u64,
    /// `interval`, default 1.
    pub interval: u64,
    /// `begin_iter` of `EMAHook`, default 0.
    pub begin_iter: u64,
    /// `update_buffers`, default false: buffers are copied.
    pub update_buffers: bool,
}

impl Default for MmagicRampUp {
    fn default() -> Self {
        Self {
            ema_kimg: 10.0,
            ema_rampup: Some(0.05),
            batch_size: 32,
            interval: 1,
            begin_iter: 0,
            update_buffers: false,
        }
    }
}

impl Peer for MmagicRampUp {
    fn decay(&self) -> Result<Decay, EmaError> {
        let rule = ImageRampUp {
            half_life: Some(self.ema_kimg * 1000.0),
            ramp_up: self.ema_rampup,
            batch_size: self.batch_size,
            clock: calls(1),
        };
        Decay::from(rule).checked()
    }

    fn config(&self) -> Result<EmaConfig, EmaError> {
        config(
            self.decay(),
            self.begin_iter,
            self.interval,
            self.update_buffers,
        )
    }
}

/// mmengine's `steps`, which counts calls from 0, when an average is due, and `more`.
fn calls(more: i64) -> Clock {
    // The first call is the last that copies, and so is not one of the steps since the start.
    Clock {
        ticks: Ticks::Steps,
        inclusive: true,
        offset: more,
    }
}

fn config(
    rule: Result<Decay, EmaError>,
    begin_iter: u64,
    interval: u64,
    update_buffers: bool,
) -> Result<EmaConfig, EmaError> {
    checked(
        EmaConfig::new()
            .with_decay(rule?)
            .with_start(begin_iter.max(1))
            .with_interval(interval)
            .with_policy(all_floats(update_buffers)),
    )
}
