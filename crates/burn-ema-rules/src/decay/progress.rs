//! What a decay schedule is told.

use serde::{Deserialize, Serialize};

/// Tells a [`DecaySchedule`](crate::decay::DecaySchedule) how far averaging has come.
///
/// A decay depends on nothing else. So a run that is resumed from its counters continues bit for bit, and a
/// [`Profile`](crate::profile::Profile) can be computed before the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Number of updates before this update: 0 for the first update. Copies before the start do not count.
    pub updates: u64,
    /// Number of optimizer steps from one update to the next.
    pub interval: u64,
}

impl Progress {
    /// Optimizer steps from the start of averaging to this update, including this update.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_ema_rules::decay::Progress;
    ///
    /// assert_eq!(Progress { updates: 2, interval: 10 }.steps(), 30);
    /// ```
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.updates.saturating_add(1).saturating_mul(self.interval)
    }

    /// The progress `updates` updates later.
    pub(crate) fn later(self, updates: u64) -> Self {
        Self {
            updates: self.updates.saturating_add(updates),
            ..self
        }
    }

    /// The first update.
    pub(crate) fn first(self) -> Self {
        Self { updates: 0, ..self }
    }

    /// The same point of the run, counted with an update at each optimizer step.
    pub(crate) fn in_steps(self) -> Self {
        Self {
            updates: self.updates.saturating_mul(self.interval),
            interval: 1,
        }
    }
}
