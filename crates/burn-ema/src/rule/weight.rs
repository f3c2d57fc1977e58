//! The same decay for every update, given by its complement.

use serde::{Deserialize, Serialize};

use super::{Moment, Rule};
use crate::EmaError;

/// Every update takes the share `weight` of the new value. Made by
/// [`Decay::weight`](super::Decay::weight).
///
/// This is the way for those who think in mmagic's momentum or DQN's tau, and the only one to a
/// decay below 0.5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// Share of the new value, in `[0, 1]`; decay is `1 - weight`.
    pub weight: f64,
}

impl Rule for Weight {
    fn decay(&self, _at: Moment) -> f64 {
        1.0 - self.weight
    }

    fn validate(&self) -> Result<(), EmaError> {
        if (0.0..=1.0).contains(&self.weight) {
            if self.weight > 0.5 && self.weight < 1.0 {
                log::warn!(
                    "Decay::weight({}) keeps only {} of the old average at each update. If {} is a \
                     decay, write Decay::constant({})",
                    self.weight,
                    1.0 - self.weight,
                    self.weight,
                    self.weight
                );
            }
            return Ok(());
        }
        Err(EmaError::InvalidDecay {
            rule: "Decay::weight",
            quantity: "weight",
            expected: "in [0, 1]",
            found: self.weight,
            hint: String::new(),
        })
    }
}
