//! mmpretrain (OpenMMLab): the teacher of BYOL, MoCo v3 and data2vec.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::cosine_warmup::CosineWarmup;
use crate::decay::ends::Ends;
use crate::error::RulesError;
use crate::presets::mmengine::{calls, settings};
use crate::presets::preset::Preset;
use crate::presets::settings::Settings;

/// mmpretrain's `CosineEMA`: the weight of the *new* weights moves from `momentum` to `end_momentum` along half a cosine over the
/// run. Calls are counted as in [`MmengineEma`](crate::presets::MmengineEma): the first copies.
///
/// Its documentation has a sign of the formula wrong; this preset does what its code does. After `max_iters` the cosine goes back
/// up there; here the EMA stays at `end_momentum`.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{MmpretrainCosine, Preset};
///
/// let decay = MmpretrainCosine { max_iters: 100, ..MmpretrainCosine::default() }.decay()?;
/// let momentum = |updates| 1.0 - decay.decay(Progress { updates, interval: 1 });
/// // The calls 50 and 100 after the copy.
/// assert!((momentum(49) - 0.002).abs() < 1e-15);
/// assert_eq!(momentum(99), 0.0);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MmpretrainCosine {
    /// `momentum`, above 0 and below 1. Default: 0.004.
    pub momentum: f64,
    /// `end_momentum`, in `[0, 1]`. Default: 0, the EMA stands still at the end.
    pub end_momentum: f64,
    /// `max_iters` of the runner, at least 1. There is no default: 0, which `default()` has, is an error.
    pub max_iters: u64,
    /// `interval`, at least 1. Default: 1.
    pub interval: u64,
    /// `begin_iter` of `EMAHook`. Default: 0.
    pub begin_iter: u64,
    /// `update_buffers`. Default: false, buffers are copied.
    pub update_buffers: bool,
}

impl Default for MmpretrainCosine {
    fn default() -> Self {
        Self {
            momentum: 0.004,
            end_momentum: 0.0,
            max_iters: 0,
            interval: 1,
            begin_iter: 0,
            update_buffers: false,
        }
    }
}

impl Preset for MmpretrainCosine {
    fn settings(&self) -> Result<Settings, RulesError> {
        Checks::of("MmpretrainCosine")
            .momentum("momentum", self.momentum)
            .share("end_momentum", self.end_momentum)
            .positive("max_iters", self.max_iters as f64)
            .done()?;
        let decay = CosineWarmup {
            from: 1.0 - self.momentum,
            to: 1.0 - self.end_momentum,
            updates: self.max_iters,
            ends: Ends::First,
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
