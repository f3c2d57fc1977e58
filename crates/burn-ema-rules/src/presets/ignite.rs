//! Ignite (PyTorch).

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::clock::Clock;
use crate::decay::ends::Ends;
use crate::decay::known::Decay;
use crate::decay::linear_warmup::LinearWarmup;
use crate::decay::weight::Weight;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::{Buffers, Settings};

/// Ignite's `EMAHandler`: momentum is the weight of the *new* weights, and moves from `momentum_warmup` to `momentum` along
/// a line over the first `warmup_iters` updates.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{Ignite, Preset};
///
/// let ignite = Ignite { momentum: 0.1, momentum_warmup: Some(0.5), warmup_iters: 5, ..Ignite::default() };
/// let decay = ignite.decay()?;
/// let momentum = |updates| 1.0 - decay.decay(Progress { updates, interval: 1 });
/// assert!((momentum(0) - 0.5).abs() < 1e-15 && (momentum(2) - 0.3).abs() < 1e-15);
/// assert_eq!(decay.decay(Progress { updates: 4, interval: 1 }), 0.9);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ignite {
    /// `momentum`, above 0 and below 1. Default: 0.0002.
    pub momentum: f64,
    /// `momentum_warmup`, above 0 and below 1. Default: none.
    pub momentum_warmup: Option<f64>,
    /// `warmup_iters`. Default: 0. Not used without `momentum_warmup`.
    pub warmup_iters: u64,
    /// `handle_buffers`. Default: `copy`.
    pub handle_buffers: HandleBuffers,
    /// `every` of the event that the handler is attached to, at least 1. Default: 1.
    pub every: u64,
}

/// Ignite's `handle_buffers`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum HandleBuffers {
    /// `"copy"`: buffers are copied. (In Ignite the EMA model and the online model share their buffers from then on.)
    #[default]
    Copy,
    /// `"update"`: buffers are averaged.
    Update,
    /// `"ema_train"`: buffers follow the forward passes of the EMA model in training mode.
    EmaTrain,
}

impl Default for Ignite {
    fn default() -> Self {
        Self {
            momentum: 0.0002,
            momentum_warmup: None,
            warmup_iters: 0,
            handle_buffers: HandleBuffers::Copy,
            every: 1,
        }
    }
}

impl Preset for Ignite {
    fn settings(&self) -> Result<Settings, RulesError> {
        // Without a warm-up the momentum is checked twice.
        let warmup = self.momentum_warmup.unwrap_or(self.momentum);
        Checks::of("Ignite")
            .momentum("momentum", self.momentum)
            .momentum("momentum_warmup", warmup)
            .done()?;
        let decay: Decay = match self.momentum_warmup {
            None => Weight {
                weight: self.momentum,
            }
            .into(),
            Some(warmup) => LinearWarmup {
                from: 1.0 - warmup,
                to: 1.0 - self.momentum,
                updates: self.warmup_iters,
                ends: Ends::Both,
                clock: Clock::default(),
            }
            .into(),
        };
        let buffers = match self.handle_buffers {
            HandleBuffers::Copy => Buffers::Copy,
            HandleBuffers::Update => Buffers::Average,
            HandleBuffers::EmaTrain => Buffers::Ignore,
        };
        Settings {
            interval: self.every,
            frozen_averaged: true,
            buffers,
            ..Settings::new(decay)
        }
        .checked()
    }
}
