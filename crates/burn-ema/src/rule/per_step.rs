//! A decay that does not change with the interval.

use serde::{Deserialize, Serialize};

use super::{Decay, Moment, Rule};
use crate::EmaError;

/// A rule that is meant per optimizer step, whatever the interval between averages: an average keeps as
/// much of the old one as `interval` averages, one at each step, would keep. Made by [`Decay::per_step`].
///
/// For a constant that is `decay^interval`. Half-life, power function and equal weights (without a prior) are per step
/// by themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PerStep {
    /// The rule as it would be with an average at each step.
    pub rule: Box<Decay>,
}

impl Rule for PerStep {
    fn decay(&self, at: Moment) -> f64 {
        self.retained(at, 1)
    }

    fn validate(&self) -> Result<(), EmaError> {
        self.rule.validate()
    }

    fn retained(&self, from: Moment, updates: u64) -> f64 {
        let from_step = Moment {
            updates: from.updates.saturating_mul(from.interval),
            interval: 1,
        };
        let steps = updates.saturating_mul(from.interval);
        self.rule.retained(from_step, steps)
    }
}
