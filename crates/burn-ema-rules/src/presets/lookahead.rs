//! Lookahead.

use serde::{Deserialize, Serialize};

use crate::decay::known::Decay;
use crate::error::RulesError;
use crate::presets::preset::Preset;
use crate::presets::settings::{Settings, WriteBackSettings};

/// Lookahead (Zhang et al. 2019, arXiv:1907.08610; timm, optax): after every `k` steps the slow weights move towards the fast
/// ones, which then go on from the slow ones.
///
/// The slow weights are the EMA and the fast ones the online weights, so `write_back_if_due` belongs after each update. In the
/// Learner that happens by itself.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::Decay;
/// use burn_ema_rules::presets::{Lookahead, Preset};
///
/// let settings = Lookahead::default().settings()?;
/// assert_eq!(settings.decay, Decay::weight(0.5));
/// assert_eq!((settings.interval, settings.write_back.unwrap().every), (6, 6));
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lookahead {
    /// `alpha` of timm, `slow_step_size` of optax, in `[0, 1]`: the weight of the fast weights. Default: 0.5.
    pub alpha: f64,
    /// `k` of timm, `sync_period` of optax, at least 1. Default: 6.
    pub k: u64,
}

impl Default for Lookahead {
    fn default() -> Self {
        Self { alpha: 0.5, k: 6 }
    }
}

impl Preset for Lookahead {
    fn settings(&self) -> Result<Settings, RulesError> {
        let write_back = WriteBackSettings {
            every: self.k,
            start: 0,
            keep: 0.0,
        };
        Settings {
            interval: self.k,
            write_back: Some(write_back),
            ..Settings::new(Decay::try_weight(self.alpha)?)
        }
        .checked()
    }
}
