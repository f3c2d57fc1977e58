//! The same decay for every update.

use serde::{Deserialize, Serialize};

use super::{Moment, Rule};
use crate::EmaError;

/// The same decay for every update. Made by [`Decay::constant`](super::Decay::constant).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constant {
    /// Share of the old average that an update keeps, in `[0.5, 1]`.
    pub decay: f64,
}

impl Rule for Constant {
    fn decay(&self, _at: Moment) -> f64 {
        self.decay
    }

    fn validate(&self) -> Result<(), EmaError> {
        if (0.5..=1.0).contains(&self.decay) {
            return Ok(());
        }
        let hint = if (0.0..0.5).contains(&self.decay) {
            format!(
                ". Decay is the share of the *old* average. If {} is the share of the new value \
                 (momentum, tau), write Decay::weight({}), which is decay {}",
                self.decay,
                self.decay,
                1.0 - self.decay
            )
        } else {
            String::new()
        };
        Err(EmaError::InvalidDecay {
            rule: "Decay::constant",
            quantity: "decay",
            expected: "in [0.5, 1]",
            found: self.decay,
            hint,
        })
    }
}
