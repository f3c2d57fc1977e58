//! Momentum teachers of self-supervised learning.
//!
//! In all of them the decay moves towards 1 over the run, and the teacher begins as a copy. What differs is where the way ends:
//! see [`Ends`].

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::clock::Clock;
use crate::decay::cosine_warmup::CosineWarmup;
use crate::decay::ends::Ends;
use crate::decay::known::Decay;
use crate::decay::linear_warmup::LinearWarmup;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::{Buffers, Settings};

/// BYOL's target network (Grill et al. 2020, arXiv:2006.07733; DeepMind's `byol`): half a cosine from `base_target_ema` to 1.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Byol, Preset};
///
/// let decay = Byol { max_steps: 1_000, ..Byol::default() }.decay()?;
/// let at = |updates| decay.decay(Progress { updates, interval: 1 });
/// assert_eq!((at(0), at(1_000)), (0.996, 1.0));
/// assert!((at(500) - 0.998).abs() < 1e-15);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Byol {
    /// `base_target_ema`, in `[0, 1]`. Default: 0.996.
    pub base_target_ema: f64,
    /// `max_steps` of the run, at least 1. Required: `default()` sets 0, which is an error.
    pub max_steps: u64,
}

impl Default for Byol {
    fn default() -> Self {
        Self {
            base_target_ema: 0.996,
            max_steps: 0,
        }
    }
}

impl Preset for Byol {
    fn settings(&self) -> Result<Settings, RulesError> {
        let checks = Checks::of("Byol").share("base_target_ema", self.base_target_ema);
        checks.positive("max_steps", self.max_steps as f64).done()?;
        teacher(cosine(
            self.base_target_ema,
            1.0,
            self.max_steps,
            Ends::First,
        ))
    }
}

/// MoCo v3's momentum encoder with `--moco-m-cos` (Chen et al. 2021, arXiv:2104.02057): half a cosine from `moco_m` to 1.
///
/// MoCo v3 updates the teacher in its forward pass, before the optimizer step, so each update sees the weights of the step
/// before: call `update` before the optimizer step to do the same.
///
/// # Example
///
/// ```
/// use burn_ema_rules::presets::{MocoV3, Preset};
///
/// let settings = MocoV3 { moco_m: 0.996, iterations: 300_000 }.settings()?;
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MocoV3 {
    /// `--moco-m`, in `[0, 1]`. Default: 0.99.
    pub moco_m: f64,
    /// Iterations of the run, at least 1: epochs times iterations of an epoch. Required: `default()` sets 0, which is an
    /// error.
    pub iterations: u64,
}

impl Default for MocoV3 {
    fn default() -> Self {
        Self {
            moco_m: 0.99,
            iterations: 0,
        }
    }
}

impl Preset for MocoV3 {
    fn settings(&self) -> Result<Settings, RulesError> {
        let checks = Checks::of("MocoV3").share("moco_m", self.moco_m);
        checks
            .positive("iterations", self.iterations as f64)
            .done()?;
        teacher(cosine(self.moco_m, 1.0, self.iterations, Ends::First))
    }
}

/// The teacher of DINO (Caron et al. 2021, arXiv:2104.14294), DINOv2 and DINOv3: half a cosine from `momentum_teacher` to
/// `final_momentum_teacher`, which is held after the run.
///
/// The defaults are DINO's. DINOv2 and DINOv3 begin at 0.992 ([`v2`](Self::v2)); the 7B model of DINOv3 has a constant 0.994,
/// which is [`Decay::constant`].
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Dino, Preset};
///
/// let decay = Dino::v2(625_000).decay()?;
/// assert_eq!(decay.decay(Progress { updates: 0, interval: 1 }), 0.992);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dino {
    /// `momentum_teacher`, in `[0, 1]`. Default: 0.996.
    pub momentum_teacher: f64,
    /// `final_momentum_teacher` of DINOv2, in `[0, 1]`. Default: 1, the teacher stands still at the end.
    pub final_momentum_teacher: f64,
    /// Iterations of the run, at least 1: epochs times iterations of an epoch. Required: `default()` sets 0, which is an
    /// error.
    pub iterations: u64,
}

impl Dino {
    /// The defaults of DINOv2 and DINOv3: 0.992 to 1.
    #[must_use]
    pub fn v2(iterations: u64) -> Self {
        Self {
            momentum_teacher: 0.992,
            iterations,
            ..Self::default()
        }
    }
}

impl Default for Dino {
    fn default() -> Self {
        Self {
            momentum_teacher: 0.996,
            final_momentum_teacher: 1.0,
            iterations: 0,
        }
    }
}

impl Preset for Dino {
    fn settings(&self) -> Result<Settings, RulesError> {
        let (from, to) = (self.momentum_teacher, self.final_momentum_teacher);
        Checks::of("Dino")
            .share("momentum_teacher", from)
            .share("final_momentum_teacher", to)
            .positive("iterations", self.iterations as f64)
            .done()?;
        teacher(cosine(from, to, self.iterations, Ends::First))
    }
}

/// lightly's `cosine_schedule` of a momentum: its last step has `end_value`, where the others reach it one step after the last.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Lightly, Preset};
///
/// let decay = Lightly { max_steps: 100, ..Lightly::default() }.decay()?;
/// let at = |updates| decay.decay(Progress { updates, interval: 1 });
/// assert_eq!((at(0), at(99)), (0.996, 1.0));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lightly {
    /// `start_value`, in `[0, 1]`. Default: 0.996, from lightly's examples: `cosine_schedule` has no default.
    pub start_value: f64,
    /// `end_value`, in `[0, 1]`. Default: 1.
    pub end_value: f64,
    /// `max_steps`, at least 1. Required: `default()` sets 0, which is an error.
    pub max_steps: u64,
}

impl Default for Lightly {
    fn default() -> Self {
        Self {
            start_value: 0.996,
            end_value: 1.0,
            max_steps: 0,
        }
    }
}

impl Preset for Lightly {
    fn settings(&self) -> Result<Settings, RulesError> {
        Checks::of("Lightly")
            .share("start_value", self.start_value)
            .share("end_value", self.end_value)
            .positive("max_steps", self.max_steps as f64)
            .done()?;
        teacher(cosine(
            self.start_value,
            self.end_value,
            self.max_steps,
            Ends::Both,
        ))
    }
}

/// The target encoder of I-JEPA (Assran et al. 2023, arXiv:2301.08243) and V-JEPA: a line from `ema[0]` to `ema[1]`.
///
/// V-JEPA 2 has a constant 0.99925, which is [`Decay::constant`].
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Jepa, Preset};
///
/// // 300 epochs of 1,000 iterations, on a scale of 1.25.
/// let decay = Jepa { iterations: 375_000, ..Jepa::default() }.decay()?;
/// let at = |updates| decay.decay(Progress { updates, interval: 1 });
/// assert_eq!((at(0), at(375_000)), (0.996, 1.0));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jepa {
    /// `ema`: start and end, each in `[0, 1]`. Default: 0.996 and 1.
    pub ema: [f64; 2],
    /// Iterations of the line, at least 1: epochs times iterations of an epoch times `ipe_scale`. Required: `default()` sets 0,
    /// which is an error.
    pub iterations: u64,
}

impl Default for Jepa {
    fn default() -> Self {
        Self {
            ema: [0.996, 1.0],
            iterations: 0,
        }
    }
}

impl Preset for Jepa {
    fn settings(&self) -> Result<Settings, RulesError> {
        let [from, to] = self.ema;
        Checks::of("Jepa")
            .share("ema[0]", from)
            .share("ema[1]", to)
            .positive("iterations", self.iterations as f64)
            .done()?;
        teacher(line(from, to, self.iterations, Ends::First))
    }
}

/// The teacher of data2vec (Baevski et al. 2022, arXiv:2202.03555; fairseq): the decay moves on a line from `ema_decay` to
/// `ema_end_decay`; update `ema_anneal_end_step`, counted from 1, and all later updates have `ema_end_decay`.
///
/// Frozen parameters and buffers are copied, as fairseq does. data2vec 2.0 begins at 0.9998 and ends at 0.99999.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Data2vec, Preset};
///
/// let decay = Data2vec::default().decay()?;
/// let at = |updates| decay.decay(Progress { updates, interval: 1 });
/// // The update that is the 30,000th.
/// assert_eq!(at(29_999), 0.9999);
/// assert!(at(29_998) < 0.9999 && at(0) > 0.999);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data2vec {
    /// `ema_decay`, in `[0, 1]`. Default: 0.999.
    pub ema_decay: f64,
    /// `ema_end_decay`, in `[0, 1]`. Default: 0.9999.
    pub ema_end_decay: f64,
    /// `ema_anneal_end_step`, at least 1. Default: 30,000.
    pub ema_anneal_end_step: u64,
}

impl Default for Data2vec {
    fn default() -> Self {
        Self {
            ema_decay: 0.999,
            ema_end_decay: 0.9999,
            ema_anneal_end_step: 30_000,
        }
    }
}

impl Preset for Data2vec {
    fn settings(&self) -> Result<Settings, RulesError> {
        let (from, to) = (self.ema_decay, self.ema_end_decay);
        Checks::of("Data2vec")
            .share("ema_decay", from)
            .share("ema_end_decay", to)
            .positive("ema_anneal_end_step", self.ema_anneal_end_step as f64)
            .done()?;
        Settings::new(line(from, to, self.ema_anneal_end_step, Ends::Last)).checked()
    }
}

/// A loop over `parameters()` of both networks: buffers follow the teacher's own forward passes.
fn teacher(decay: Decay) -> Result<Settings, RulesError> {
    Settings {
        frozen_averaged: true,
        buffers: Buffers::Ignore,
        ..Settings::new(decay)
    }
    .checked()
}

fn cosine(from: f64, to: f64, updates: u64, ends: Ends) -> Decay {
    let clock = Clock::default();
    let cosine = CosineWarmup {
        from,
        to,
        updates,
        ends,
        clock,
    };
    cosine.into()
}

fn line(from: f64, to: f64, updates: u64, ends: Ends) -> Decay {
    let clock = Clock::default();
    let line = LinearWarmup {
        from,
        to,
        updates,
        ends,
        clock,
    };
    line.into()
}
