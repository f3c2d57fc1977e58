//! What a preset says about an EMA.

use serde::{Deserialize, Serialize};

use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::known::Decay;
use crate::error::RulesError;
use crate::schedule::Schedule;

/// Describes an EMA in the terms of this project: what a [`Preset`](crate::presets::Preset) converts its arguments to.
///
/// `burn_ema::config::EmaConfig::from_preset` makes a configuration of the settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The decay schedule.
    pub decay: Decay,
    /// Number of optimizer steps that only copy.
    pub start: u64,
    /// Number of optimizer steps from one update to the next, at least 1.
    pub interval: u64,
    /// Whether frozen parameters are averaged. Otherwise an update copies them.
    pub frozen_averaged: bool,
    /// What happens to float buffers such as BatchNorm's running statistics.
    pub buffers: Buffers,
    /// When the EMA is written back into the online model. `None`: never.
    pub write_back: Option<WriteBackSettings>,
}

/// What happens to float buffers such as BatchNorm's running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Buffers {
    /// An update averages buffers as it averages parameters.
    Average,
    /// An update copies buffers from the online model.
    Copy,
    /// An update does not touch buffers: they follow the forward passes of the EMA model in training mode.
    Ignore,
}

/// Says when the EMA is written back into the online model, as Keras' `ema_overwrite_frequency` does:
/// `online = ema + (online - ema) * keep`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteBackSettings {
    /// Number of optimizer steps from one write-back to the next, at least 1.
    pub every: u64,
    /// Number of optimizer steps without write-back. The first write-back is at step `start + every`. Default: 0.
    #[serde(default)]
    pub start: u64,
    /// Share of the online weights that a write-back keeps, at least 0 and below 1. Default: 0, a copy of the EMA.
    #[serde(default)]
    pub keep: f64,
}

impl Settings {
    /// An update with `decay` at each optimizer step from the first on; frozen parameters and buffers are copied, and
    /// nothing is written back.
    #[must_use]
    pub fn new(decay: Decay) -> Self {
        Self {
            decay,
            start: 0,
            interval: 1,
            frozen_averaged: false,
            buffers: Buffers::Copy,
            write_back: None,
        }
    }

    /// The update schedule: start and interval.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule {
            start: self.start,
            interval: self.interval,
        }
    }

    /// Checks the decay schedule, the update schedule and the write-back.
    ///
    /// # Errors
    ///
    /// [`RulesError`] for the first number outside its range.
    pub fn validate(&self) -> Result<(), RulesError> {
        self.schedule().validate()?;
        self.decay.validate()?;
        let Some(WriteBackSettings { every, keep, .. }) = self.write_back else {
            return Ok(());
        };
        let problem = if every == 0 {
            "0 steps between two write-backs: write at least 1".to_string()
        } else if !(0.0..1.0).contains(&keep) {
            format!(
                "keep, the share of the online weights that a write-back keeps, must be at least 0 and below 1, found \
                 {keep}"
            )
        } else {
            return Ok(());
        };
        Err(RulesError::InvalidConfig {
            field: "write_back",
            problem,
        })
    }

    /// All float parameters are averaged, frozen or not, and buffers as well or copied.
    pub(crate) fn of_all_floats(decay: Decay, buffers_averaged: bool) -> Self {
        Self {
            frozen_averaged: true,
            buffers: Buffers::averaged_if(buffers_averaged),
            ..Self::new(decay)
        }
    }

    /// `self`, if valid.
    pub(crate) fn checked(self) -> Result<Self, RulesError> {
        self.validate().map(|()| self)
    }
}

impl Buffers {
    pub(crate) fn averaged_if(averaged: bool) -> Self {
        match averaged {
            true => Self::Average,
            false => Self::Copy,
        }
    }
}
