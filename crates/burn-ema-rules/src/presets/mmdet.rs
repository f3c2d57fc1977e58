//! mmdetection (OpenMMLab).

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::exponential_warmup::ExponentialWarmup;
use crate::decay::weight::Weight;
use crate::error::RulesError;
use crate::presets::mmengine::{calls, settings};
use crate::presets::preset::Preset;
use crate::presets::settings::{Buffers, Settings};

/// mmdetection's and mmyolo's `ExpMomentumEMA` (YOLOX, RTMDet): the weight of the *new* weights is
/// `(1 - momentum) * exp(-(1 + steps) / gamma) + momentum`, an [`ExponentialWarmup`]. Calls are counted as in
/// [`MmengineEma`](crate::presets::MmengineEma): the first copies.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{MmdetExpMomentum, Preset};
///
/// let decay = MmdetExpMomentum { momentum: 0.1, gamma: 2.0, ..MmdetExpMomentum::default() }.decay()?;
/// let first = decay.decay(Progress { updates: 0, interval: 1 });
/// assert!((1.0 - first - (0.9 * (-1.0_f64).exp() + 0.1)).abs() < 1e-15);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MmdetExpMomentum {
    /// `momentum`, above 0 and below 1. Default: 0.0002.
    pub momentum: f64,
    /// `gamma`, finite and positive. Default: 2000.
    pub gamma: f64,
    /// `interval`, at least 1. Default: 1.
    pub interval: u64,
    /// `begin_iter` of `EMAHook`. Default: 0.
    pub begin_iter: u64,
    /// `update_buffers`. Default: false, buffers are copied.
    pub update_buffers: bool,
}

impl Default for MmdetExpMomentum {
    fn default() -> Self {
        Self {
            momentum: 0.0002,
            gamma: 2000.0,
            interval: 1,
            begin_iter: 0,
            update_buffers: false,
        }
    }
}

impl Preset for MmdetExpMomentum {
    fn settings(&self) -> Result<Settings, RulesError> {
        Checks::of("MmdetExpMomentum")
            .momentum("momentum", self.momentum)
            .positive("gamma", self.gamma)
            .done()?;
        let decay = ExponentialWarmup {
            max: 1.0 - self.momentum,
            tau: self.gamma,
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

/// mmdetection's `MeanTeacherHook` (semi-supervised detection; Tarvainen and Valpola 2017, arXiv:1703.01780): the teacher begins as
/// a copy, and moves at every `interval`-th iteration. `momentum` is the weight of the *new* weights.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{Buffers, MmdetMeanTeacher, Preset};
///
/// let settings = MmdetMeanTeacher::default().settings()?;
/// assert_eq!(settings.decay, Decay::weight(0.001));
/// assert_eq!(settings.buffers, Buffers::Ignore);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MmdetMeanTeacher {
    /// `momentum`, above 0 and below 1. Default: 0.001.
    pub momentum: f64,
    /// `interval`, at least 1. Default: 1.
    pub interval: u64,
    /// `skip_buffer`. Default: true, buffers follow the forward passes of the teacher. Otherwise they are averaged.
    pub skip_buffer: bool,
}

impl Default for MmdetMeanTeacher {
    fn default() -> Self {
        Self {
            momentum: 0.001,
            interval: 1,
            skip_buffer: true,
        }
    }
}

impl Preset for MmdetMeanTeacher {
    fn settings(&self) -> Result<Settings, RulesError> {
        let checks = Checks::of("MmdetMeanTeacher");
        checks.momentum("momentum", self.momentum).done()?;
        let decay = Weight {
            weight: self.momentum,
        };
        Settings {
            interval: self.interval,
            frozen_averaged: true,
            buffers: match self.skip_buffer {
                true => Buffers::Ignore,
                false => Buffers::Average,
            },
            ..Settings::new(decay.into())
        }
        .checked()
    }
}
