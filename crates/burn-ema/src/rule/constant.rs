//! The same decay for every update.

use serde::{Deserialize, Serialize};

use super::{Checks, Moment, Rule};
use crate::EmaError;

/// The same decay for every update. Made by [`Decay::constant`](super::Decay::constant).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// Share of the old average that an update keeps, in `[0.5, 1]`.
    pub decay: f64,
}

impl Rule for Constant {
    fn decay(&self, _at: Moment) -> f64 {
        self.decay
    }

    fn validate(&self) -> Result<(), EmaError> {
        Checks::of("Decay::constant")
            .decay("decay", self.decay)
            .done()
    }

    fn retained(&self, _from: Moment, updates: u64) -> f64 {
        self.decay.powf(updates as f64)
    }
}
