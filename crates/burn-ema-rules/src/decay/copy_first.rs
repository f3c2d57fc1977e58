//! A decay schedule that begins with copies.

use serde::{Deserialize, Serialize};

use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::known::Decay;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Copies the online weights at the first updates instead of averaging. Made by [`Decay::copy_first`].
///
/// torch, timm, Keras, Lightning and diffusers begin with a copy: no trace of the initial weights is left, and the weights
/// at the last copy count as the initial weights.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
///
/// let schedule = Decay::constant(0.99).copy_first(2);
/// let decay = |updates| schedule.decay(Progress { updates, interval: 1 });
/// assert_eq!([decay(0), decay(1), decay(2)], [0.0, 0.0, 0.99]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyFirst {
    /// Number of updates that are copies.
    pub updates: u64,
    /// The schedule after the copies. It counts the copies as updates.
    pub schedule: Box<Decay>,
}

impl DecaySchedule for CopyFirst {
    fn decay(&self, at: Progress) -> f64 {
        match at.updates < self.updates {
            true => 0.0,
            false => self.schedule.decay(at),
        }
    }

    fn validate(&self) -> Result<(), RulesError> {
        self.schedule.validate()
    }

    fn retained(&self, from: Progress, updates: u64) -> f64 {
        match from.updates < self.updates && updates > 0 {
            true => 0.0,
            false => self.schedule.retained(from, updates),
        }
    }
}
