//! The same decay for every update, given by its complement.

use serde::{Deserialize, Serialize};

use super::{Checks, Moment, Rule};
use crate::EmaError;

/// Every update takes the share `weight` of the new value. Made by
/// [`Decay::weight`](super::Decay::weight).
///
/// This is the way for those who think in mmagic's momentum or DQN's tau, and the only one to a
/// decay below 0.5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// Share of the new value, in `[0, 1]`; decay is `1 - weight`.
    pub weight: f64,
}

impl Rule for Weight {
    fn decay(&self, _at: Moment) -> f64 {
        1.0 - self.weight
    }

    fn validate(&self) -> Result<(), EmaError> {
        Checks::of("Decay::weight")
            .share("weight", self.weight)
            .warn_of_decay("weight", self.weight)
            .done()
    }

    fn retained(&self, _from: Moment, updates: u64) -> f64 {
        (1.0 - self.weight).powf(updates as f64)
    }
}
