//! Zero-debias: an average that starts from nothing.

use serde::{Deserialize, Serialize};

use super::{Decay, Moment, Rule};
use crate::EmaError;

/// An average as if it had started at zero and were divided by the weight that it has so far. Made by
/// [`Decay::debiased`].
///
/// This is Adam's bias correction (Kingma and Ba 2014, arXiv:1412.6980) and optax's `debias`: the weights that
/// averaging started from leave no trace, and those seen since are in the proportions of the rule. With `D`
/// the product of the decays so far, dividing by `1 - D` at the end is the same as a decay of
/// `d (1 - D) / (1 - d D)` at each update, and keeps the average ready to use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Debiased {
    /// The rule that is corrected.
    pub rule: Box<Decay>,
}

impl Rule for Debiased {
    fn decay(&self, at: Moment) -> f64 {
        let first = Moment { updates: 0, ..at };
        let before = self.rule.retained(first, at.updates);
        let decay = self.rule.decay(at);
        match decay * before {
            // Nothing has come in yet.
            1.0 => 1.0,
            after => decay * (1.0 - before) / (1.0 - after),
        }
    }

    fn validate(&self) -> Result<(), EmaError> {
        self.rule.validate()
    }

    fn retained(&self, from: Moment, updates: u64) -> f64 {
        let first = Moment { updates: 0, ..from };
        let before = self.rule.retained(first, from.updates);
        let retained = self.rule.retained(from, updates);
        match retained * before {
            1.0 => 1.0,
            after => retained * (1.0 - before) / (1.0 - after),
        }
    }
}
