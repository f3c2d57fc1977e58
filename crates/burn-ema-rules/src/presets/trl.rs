//! TRL (Hugging Face): the reference model of preference optimization.

use serde::{Deserialize, Serialize};

use crate::decay::known::Decay;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::{Buffers, Settings};

/// TRL's `SyncRefModelCallback`: every `ref_model_sync_steps` steps the reference model moves towards the policy (TR-DPO,
/// Gorbatovski et al. 2024, arXiv:2404.09656).
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{Preset, TrlSyncRef};
///
/// let settings = TrlSyncRef::default().settings()?;
/// assert_eq!((settings.decay, settings.interval), (Decay::weight(0.6), 512));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrlSyncRef {
    /// `ref_model_mixup_alpha`, the weight of the policy, in `[0, 1]`. Default: 0.6.
    pub ref_model_mixup_alpha: f64,
    /// `ref_model_sync_steps`, at least 1. Default: 512.
    pub ref_model_sync_steps: u64,
}

impl Default for TrlSyncRef {
    fn default() -> Self {
        Self {
            ref_model_mixup_alpha: 0.6,
            ref_model_sync_steps: 512,
        }
    }
}

impl Preset for TrlSyncRef {
    fn settings(&self) -> Result<Settings, RulesError> {
        Settings {
            interval: self.ref_model_sync_steps,
            frozen_averaged: true,
            buffers: Buffers::Ignore,
            ..Settings::new(Decay::try_weight(self.ref_model_mixup_alpha)?)
        }
        .checked()
    }
}
