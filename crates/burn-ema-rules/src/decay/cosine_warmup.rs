//! A decay that moves along half a cosine.

use serde::{Deserialize, Serialize};

use crate::decay::checks::{Checks, valid};
use crate::decay::clock::Clock;
use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::ends::Ends;
use crate::decay::progress::Progress;
use crate::error::RulesError;

/// Cosine warm-up: the decay moves from `from` to `to` along half a cosine over `updates` updates, and stays there.
///
/// `decay = to - (to - from) * (cos(pi * way) + 1) / 2`, where `way` goes from 0 to 1 as [`ends`](Ends) says. Momentum teachers
/// of self-supervised learning use this schedule over a whole run (BYOL, Grill et al. 2020, arXiv:2006.07733: from 0.996 to 1;
/// MoCo v3, DINO, DINOv2). With a decay of 1 the EMA stands still.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{CosineWarmup, DecaySchedule, Progress};
///
/// let teacher = CosineWarmup::new(0.9, 1.0, 5);
/// let decay = |updates| teacher.decay(Progress { updates, interval: 1 });
/// assert_eq!((decay(0), decay(4), decay(5)), (0.9, 1.0, 1.0));
/// assert!((decay(2) - 0.95).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosineWarmup {
    /// The decay at the beginning of the way, in `[0, 1]`.
    pub from: f64,
    /// The decay at its end and of all later updates, in `[0, 1]`.
    pub to: f64,
    /// Number of updates on the way (of what the clock counts).
    pub updates: u64,
    /// Which ends are decays of updates. Default: both.
    #[serde(default)]
    pub ends: Ends,
    /// What `s` counts.
    #[serde(default)]
    pub clock: Clock,
}

impl CosineWarmup {
    /// Makes half a cosine from `from` at the first to `to` at the last of `updates` updates.
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

impl DecaySchedule for CosineWarmup {
    fn decay(&self, at: Progress) -> f64 {
        match self.ends.way(self.clock.read(at), self.updates) {
            // Not computed, for `to - (to - from)` is not always `from`.
            0.0 => self.from,
            1.0 => self.to,
            way => {
                self.to - (self.to - self.from) * ((std::f64::consts::PI * way).cos() + 1.0) / 2.0
            }
        }
    }

    fn validate(&self) -> Result<(), RulesError> {
        Checks::of("CosineWarmup")
            .share("from", self.from)
            .share("to", self.to)
            .warn_of_weight("to", self.to)
            .done()
    }
}
