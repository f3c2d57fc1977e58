//! A rule that begins with copies.

use serde::{Deserialize, Serialize};

use super::{Decay, Moment, Rule};
use crate::EmaError;

/// The first averages are copies, whatever the rule. Made by [`Decay::copy_first`].
///
/// So do torch, timm, Keras, Lightning and diffusers: the initial weights leave no trace, and the weights after
/// the last copy take their place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyFirst {
    /// Number of averages that are copies.
    pub updates: u64,
    /// The rule from then on. It counts the copies as averages.
    pub rule: Box<Decay>,
}

impl Rule for CopyFirst {
    fn decay(&self, at: Moment) -> f64 {
        match at.updates < self.updates {
            true => 0.0,
            false => self.rule.decay(at),
        }
    }

    fn validate(&self) -> Result<(), EmaError> {
        self.rule.validate()
    }

    fn retained(&self, from: Moment, updates: u64) -> f64 {
        match from.updates < self.updates && updates > 0 {
            true => 0.0,
            false => self.rule.retained(from, updates),
        }
    }
}
