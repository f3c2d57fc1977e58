//! Update schedules: which optimizer steps update the EMA.

use serde::{Deserialize, Serialize};

use crate::error::RulesError;

/// What an optimizer step does to the EMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// The run has not passed the start: the EMA becomes a copy of the online weights.
    Copy,
    /// The EMA is updated.
    Update,
    /// Between two updates: the EMA does not change.
    Wait,
}

/// Decides which optimizer steps update the EMA: a start and an interval, in optimizer steps.
///
/// Steps are counted from 1. Each of the steps `1..=start` copies the online weights. After them every `interval`-th
/// step updates the EMA, so the first update is at step `start + interval`. mmagic's `ExponentialMovingAverageHook`
/// counts in the same way: its iteration, counted from 0, is `step - 1`.
///
/// # Example
///
/// ```
/// use burn_ema_rules::schedule::{Phase, Schedule};
///
/// let schedule = Schedule { start: 2, interval: 3 };
/// let phases: Vec<_> = (1..=8).map(|step| schedule.phase(step)).collect();
/// use Phase::*;
/// assert_eq!(phases, [Copy, Copy, Wait, Wait, Update, Wait, Wait, Update]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Number of optimizer steps that only copy. Default: 0.
    pub start: u64,
    /// Number of optimizer steps from one update to the next, at least 1. Default: 1.
    pub interval: u64,
}

/// An update at every optimizer step.
impl Default for Schedule {
    fn default() -> Self {
        Self {
            start: 0,
            interval: 1,
        }
    }
}

impl Schedule {
    /// Says what to do after optimizer step number `step`, counted from 1.
    #[must_use]
    pub fn phase(&self, step: u64) -> Phase {
        if step <= self.start {
            Phase::Copy
        } else if (step - self.start).is_multiple_of(self.interval) {
            Phase::Update
        } else {
            Phase::Wait
        }
    }

    /// Checks that the interval is at least 1.
    ///
    /// # Errors
    ///
    /// [`RulesError::InvalidConfig`] with the field `interval` if the interval is 0.
    pub fn validate(&self) -> Result<(), RulesError> {
        match self.interval {
            0 => Err(RulesError::InvalidConfig {
                field: "interval",
                problem: "0 steps between two updates: write at least 1".into(),
            }),
            _ => Ok(()),
        }
    }
}
