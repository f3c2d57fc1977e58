//! Decay by half-life.

use serde::{Deserialize, Serialize};

use super::{Checks, Moment, Rule};
use crate::EmaError;

/// `decay = 2^(-interval / steps)`: a weight counts half after `steps` optimizer steps. Made by
/// [`Decay::half_life`](super::Decay::half_life).
///
/// The half-life is in optimizer steps, so it does not change with the interval between updates:
/// one update every 10 steps decays as much as ten updates would. MosaicML Composer's EMA counts the
/// same way: 0.9993070929904525 for a half-life of 1000 with an update every step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HalfLife {
    /// Half-life in optimizer steps, finite and positive.
    pub steps: f64,
}

impl Rule for HalfLife {
    fn decay(&self, at: Moment) -> f64 {
        (-(at.interval as f64) / self.steps).exp2()
    }

    fn validate(&self) -> Result<(), EmaError> {
        Checks::of("Decay::half_life")
            .positive("steps", self.steps)
            .done()
    }

    fn retained(&self, from: Moment, updates: u64) -> f64 {
        (-(from.interval as f64) * updates as f64 / self.steps).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_composer() {
        // smoothing = 2^(-update_interval / half_life), values from Composer's EMA.
        let decay = |steps, interval| {
            HalfLife { steps }.decay(Moment {
                updates: 7,
                interval,
            })
        };
        assert!((decay(1000.0, 1) - 0.9993070929904525).abs() < 1e-15);
        assert!((decay(1000.0, 10) - 0.9930924954370359).abs() < 1e-15);
        assert!((decay(10.0, 1) - 0.9330329915368074).abs() < 1e-15);
    }
}
