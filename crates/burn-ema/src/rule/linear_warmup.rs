//! A decay that moves along a straight line.

use serde::{Deserialize, Serialize};

use super::check::valid;
use super::{Checks, Clock, Decay, Moment, Rule};
use crate::EmaError;

/// A decay that moves from `from` to `to` along a straight line over `updates` averages, and stays there.
///
/// `decay = from + (to - from) * min(1, s / (updates - 1))`, so the first of them has `from` and the last
/// `to`. `s` is read from the [`clock`](Clock): by default the number of averages before this one. This is
/// Ignite's `EMAHandler`, whose momenta are `1 - from` and `1 - to`.
///
/// # Example
///
/// ```
/// use burn_ema::{LinearWarmup, Moment, Rule};
///
/// let rule = LinearWarmup::new(0.5, 1.0, 5);
/// let decay = |updates| rule.decay(Moment { updates, interval: 1 });
/// assert_eq!([0, 1, 2, 3, 4, 5].map(decay), [0.5, 0.625, 0.75, 0.875, 1.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearWarmup {
    /// The decay of the first average, in `[0, 1]`.
    pub from: f64,
    /// The decay of the last one and of all after it, in `[0, 1]`.
    pub to: f64,
    /// Number of averages on the line (of what the clock counts).
    pub updates: u64,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

impl LinearWarmup {
    /// A line from `from` to `to`.
    ///
    /// # Panics
    ///
    /// If a number is out of its range.
    pub fn new(from: f64, to: f64, updates: u64) -> Self {
        valid(Self {
            from,
            to,
            updates,
            clock: Clock::default(),
        })
    }
}

impl From<LinearWarmup> for Decay {
    fn from(rule: LinearWarmup) -> Self {
        Self::LinearWarmup(rule)
    }
}

impl Rule for LinearWarmup {
    fn decay(&self, at: Moment) -> f64 {
        let length = self.updates.saturating_sub(1).max(1) as f64;
        match self.clock.read(at) / length {
            // Not computed, for `from + (to - from)` is not always `to`.
            way if way >= 1.0 => self.to,
            way => self.from + (self.to - self.from) * way,
        }
    }

    fn validate(&self) -> Result<(), EmaError> {
        Checks::of("LinearWarmup")
            .share("from", self.from)
            .share("to", self.to)
            .warn_of_weight("to", self.to)
            .done()
    }
}
