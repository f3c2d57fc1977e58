//! mmengine and mmagic (OpenMMLab): the averaged models. mmagic's hook is in `burn-ema-train`.

use serde::{Deserialize, Serialize};

use crate::decay::annealing::Annealing;
use crate::decay::checks::Checks;
use crate::decay::clock::{Clock, Ticks};
use crate::decay::equal_weights::EqualWeights;
use crate::decay::image_ramp_up::ImageRampUp;
use crate::decay::known::Decay;
use crate::decay::weight::Weight;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// mmengine's and mmagic's `ExponentialMovingAverage`, as `EMAHook` runs it.
///
/// `momentum` is the weight of the *new* weights. The first call copies, then every `interval`-th call updates. Calls before
/// `begin_iter` copy, and so does the first call from `begin_iter` on. Difference: mmengine copies buffers at each call,
/// also between two updates; this preset copies them at updates.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{MmengineEma, Preset};
///
/// // EMAHook(momentum=0.001, begin_iter=100)
/// let ema = MmengineEma { momentum: 0.001, begin_iter: 100, ..MmengineEma::default() };
/// let settings = ema.settings()?;
/// assert_eq!(settings.decay, Decay::weight(0.001));
/// assert_eq!(settings.start, 100);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MmengineEma {
    /// `momentum`, above 0 and below 1. Default: 0.0002.
    pub momentum: f64,
    /// `interval`, at least 1. Default: 1.
    pub interval: u64,
    /// `begin_iter` of `EMAHook`. Default: 0.
    pub begin_iter: u64,
    /// `update_buffers`. Default: false, buffers are copied.
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

impl Preset for MmengineEma {
    fn settings(&self) -> Result<Settings, RulesError> {
        let checks = Checks::of("MmengineEma");
        checks.momentum("momentum", self.momentum).done()?;
        let weight = self.momentum;
        settings(
            Weight { weight }.into(),
            self.begin_iter,
            self.interval,
            self.update_buffers,
        )
    }
}

/// mmengine's `MomentumAnnealingEMA`: an [`Annealing`] that counts calls for any interval.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{MmengineAnnealing, Preset};
///
/// // The call after the copy.
/// let decay = MmengineAnnealing { gamma: 4.0, ..MmengineAnnealing::default() }.decay()?;
/// assert_eq!(decay.decay(Progress { updates: 0, interval: 1 }), 1.0 - 4.0 / 5.0);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MmengineAnnealing {
    /// `momentum`, above 0 and below 1. Default: 0.0002.
    pub momentum: f64,
    /// `gamma`, finite and positive. Default: 100.
    pub gamma: f64,
    /// `interval`, at least 1. Default: 1.
    pub interval: u64,
    /// `begin_iter` of `EMAHook`. Default: 0.
    pub begin_iter: u64,
    /// `update_buffers`. Default: false, buffers are copied.
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

impl Preset for MmengineAnnealing {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = Annealing {
            weight: self.momentum,
            gamma: self.gamma,
            clock: calls(0),
        };
        settings(
            decay.into(),
            self.begin_iter,
            self.interval,
            self.update_buffers,
        )
    }
}

/// mmengine's `StochasticWeightAverage`: the mean of the copy at the first call and of the weights at all updates since.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{MmengineSwa, Preset};
///
/// let decay = MmengineSwa::default().decay()?;
/// assert_eq!(decay.decay(Progress { updates: 0, interval: 1 }), 0.5);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MmengineSwa {
    /// `interval`, at least 1. Default: 1.
    pub interval: u64,
    /// `begin_iter` of `EMAHook`. Default: 0.
    pub begin_iter: u64,
    /// `update_buffers`. Default: false, buffers are copied.
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

impl Preset for MmengineSwa {
    fn settings(&self) -> Result<Settings, RulesError> {
        settings(
            EqualWeights { prior: 1 }.into(),
            self.begin_iter,
            self.interval,
            self.update_buffers,
        )
    }
}

/// mmagic's `RampUpEMA`: the ramp of StyleGAN3, with the images of the current step among the images seen.
///
/// `RampUpEMA` accepts and ignores `start_iter`; use `begin_iter`. Difference: with an interval above 1 the half-life grows
/// by that factor in mmagic; here it stays `ema_kimg`.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{MmagicRampUp, Preset};
///
/// let decay = MmagicRampUp::default().decay()?;
/// let late = decay.decay(Progress { updates: 1_000_000, interval: 1 });
/// assert!((late - 0.9977843871238888).abs() < 1e-15);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MmagicRampUp {
    /// `ema_kimg`, in thousands of images, finite and positive. Default: 10.
    pub ema_kimg: f64,
    /// `ema_rampup`, finite and positive. Default: 0.05.
    pub ema_rampup: Option<f64>,
    /// `batch_size`, at least 1. Default: 32.
    pub batch_size: u64,
    /// `interval`, at least 1. Default: 1.
    pub interval: u64,
    /// `begin_iter` of `EMAHook`. Default: 0.
    pub begin_iter: u64,
    /// `update_buffers`. Default: false, buffers are copied.
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

impl Preset for MmagicRampUp {
    fn settings(&self) -> Result<Settings, RulesError> {
        let decay = ImageRampUp {
            half_life_images: Some(self.ema_kimg * 1000.0),
            ramp_up: self.ema_rampup,
            batch_size: self.batch_size,
            clock: calls(1),
        };
        settings(
            decay.into(),
            self.begin_iter,
            self.interval,
            self.update_buffers,
        )
    }
}

/// mmengine's `steps`, which counts calls from 0, at an update, and `more`.
pub(super) fn calls(more: i64) -> Clock {
    // The first call is the last that copies, and so is not one of the steps since the start.
    Clock {
        ticks: Ticks::Steps,
        inclusive: true,
        offset: more,
    }
}

pub(super) fn settings(
    decay: Decay,
    begin_iter: u64,
    interval: u64,
    update_buffers: bool,
) -> Result<Settings, RulesError> {
    Settings {
        start: begin_iter.max(1),
        interval,
        ..Settings::of_all_floats(decay, update_buffers)
    }
    .checked()
}
