//! d2go (facebookresearch).

use serde::{Deserialize, Serialize};

use crate::decay::clock::Clock;
use crate::decay::tf_ramp::TfRamp;
use crate::error::RulesError;
use crate::presets::convert::constant;
use crate::presets::preset::Preset;
use crate::presets::settings::{Buffers, Settings};

/// d2go's `EMAUpdater`: a [`TfRamp`] with a factor that the user sets and a count from 1, or a constant decay.
///
/// Difference: d2go truncates integers; this preset copies them.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress};
/// use burn_ema_rules::presets::{D2go, Preset};
///
/// let d2go = D2go { decay_warm_up_factor: Some(10.0), ..D2go::default() };
/// let first = Progress { updates: 0, interval: 1 };
/// assert_eq!(d2go.decay()?.decay(first), 2.0 / 11.0);
/// # Ok::<(), burn_ema_rules::RulesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct D2go {
    /// `decay`, in `[0, 1]`. Default: 0.999.
    pub decay: f64,
    /// `decay_warm_up_factor`, at least 1. `None`, the default, is -1 in d2go: a constant decay.
    pub decay_warm_up_factor: Option<f64>,
    /// `include_frozen`. Default: true, frozen parameters are averaged.
    pub include_frozen: bool,
    /// `include_buffer`. Default: true, buffers are averaged.
    pub include_buffer: bool,
}

impl Default for D2go {
    fn default() -> Self {
        Self {
            decay: 0.999,
            decay_warm_up_factor: None,
            include_frozen: true,
            include_buffer: true,
        }
    }
}

impl Preset for D2go {
    fn settings(&self) -> Result<Settings, RulesError> {
        let constant = constant("D2go", "decay", self.decay)?;
        let decay = match self.decay_warm_up_factor {
            None => constant,
            Some(factor) => TfRamp {
                max: self.decay,
                min: 0.0,
                factor,
                clock: Clock {
                    inclusive: true,
                    ..Clock::default()
                },
            }
            .into(),
        };
        Settings {
            frozen_averaged: self.include_frozen,
            buffers: Buffers::averaged_if(self.include_buffer),
            ..Settings::new(decay)
        }
        .checked()
    }
}
