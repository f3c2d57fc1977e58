//! A decay that moves along a straight line.

use serde::{Deserialize, Serialize};

use crate::decay::checks::{Checks, valid};
use crate::decay::clock::Clock;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::ends::Ends;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Linear warm-up: the decay moves from `from` to `to` along a straight line over `updates` updates, and stays there.
///
/// `decay = from + (to - from) * way`, where `way` goes from 0 to 1 as [`ends`](Ends) says: by default
/// `min(1, s / (updates - 1))`, so that the first update on the line has `from` and the last has `to`. `s` is read from the
/// [`clock`](Clock): by default `s` is the number of updates before this update. Ignite's `EMAHandler` uses this schedule (its
/// momenta are `1 - from` and `1 - to`), and so do I-JEPA and V-JEPA (0.996 to 1) and data2vec, each with ends of its own.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{DecaySchedule, LinearWarmup, Progress};
///
/// let warmup = LinearWarmup::new(0.5, 1.0, 5);
/// let decay = |updates| warmup.decay(Progress { updates, interval: 1 });
/// assert_eq!([0, 1, 2, 3, 4, 5].map(decay), [0.5, 0.625, 0.75, 0.875, 1.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearWarmup {
    /// The decay at the beginning of the line, in `[0, 1]`.
    pub from: f64,
    /// The decay at its end and of all later updates, in `[0, 1]`.
    pub to: f64,
    /// Number of updates on the line (of what the clock counts).
    pub updates: u64,
    /// Which ends are decays of updates. Default: both.
    #[serde(default)]
    pub ends: Ends,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

impl LinearWarmup {
    /// Makes a line from `from` to `to` over `updates` updates.
    ///
    /// # Panics
    ///
    /// Panics if `from` or `to` is not in `[0, 1]`.
    #[must_use]
    #[track_caller]
    pub fn new(from: f64, to: f64, updates: u64) -> Self {
        valid(Self {
            from,
            to,
            updates,
            ends: Ends::default(),
            clock: Clock::default(),
        })
    }
}

impl DecaySchedule for LinearWarmup {
    fn decay(&self, at: Progress) -> f64 {
        match self.ends.way(self.clock.read(at), self.updates) {
            // Not computed, for `from + (to - from)` is not always `to`.
            1.0 => self.to,
            way => self.from + (self.to - self.from) * way,
        }
    }

    fn validate(&self) -> Result<(), RulesError> {
        Checks::of("LinearWarmup")
            .share("from", self.from)
            .share("to", self.to)
            .warn_of_weight("to", self.to)
            .done()
    }
}
