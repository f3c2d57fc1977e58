//! The mean of a window, which starts again.

use serde::{Deserialize, Serialize};

use crate::decay::checks::Checks;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// The mean of the last `window` of every `every` updates. After update `every`, `2 * every` and so on, the EMA is the mean of
/// the last `window` updates; then it does not change until the next window begins.
///
/// This is how OLMo merges its models during training (`ModelMergeCallback` of OLMo-core). In OLMo-core a run that stops
/// within a window skips that merge. In burn-ema the record holds the counters, so a resumed run continues within the window.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, Progress, RestartedMean};
///
/// let mean = RestartedMean { window: 3, every: 5 };
/// let decay = |updates| mean.decay(Progress { updates, interval: 1 });
/// // Two updates change nothing, the third is a copy.
/// assert_eq!([0, 1, 2, 3, 4].map(decay), [1.0, 1.0, 0.0, 0.5, 2.0 / 3.0]);
/// assert_eq!([5, 6, 7].map(decay), [1.0, 1.0, 0.0]);
/// ```
#[doc(alias = "OLMo")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartedMean {
    /// Number of updates in a mean, at least 1 and at most `every`.
    pub window: u64,
    /// Number of updates from one mean to the next.
    pub every: u64,
}

impl DecaySchedule for RestartedMean {
    fn decay(&self, at: Progress) -> f64 {
        self.retained(at, 1)
    }

    fn validate(&self) -> Result<(), RulesError> {
        let holds = (1..=self.every).contains(&self.window);
        Checks::of("RestartedMean")
            .that(holds, "window", "in [1, every]", self.window as f64)
            .done()
    }

    fn retained(&self, from: Progress, updates: u64) -> f64 {
        let position = from.updates % self.every.max(1);
        let begins = self.every.saturating_sub(self.window);
        let next = match position <= begins {
            true => begins - position,
            false => self.every - position + begins,
        };
        match position.checked_sub(begins) {
            // The copy that a window begins with is among them.
            _ if updates > next => 0.0,
            // Between two windows.
            None | Some(0) => 1.0,
            Some(before) => {
                let averaged = updates.min(self.window - before);
                before as f64 / (before + averaged) as f64
            }
        }
    }
}
