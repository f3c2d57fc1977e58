//! Zero-debias: an EMA that starts from nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::decay::decay_schedule::DecaySchedule;
use crate::decay::known::Decay;
use crate::decay::progress::Progress;
use crate::decay::running::Running;
use crate::error::RulesError;

/// Bias correction of Adam (Kingma and Ba 2014, arXiv:1412.6980) and optax (`debias`): the EMA as if it had started at
/// zero and were divided by the total weight so far. Made by [`Decay::debiased`].
///
/// No trace is left of the weights that averaging started from, and the later weights keep the proportions of the
/// schedule. With `D` the product of the decays so far, dividing by `1 - D` at the end equals a decay of
/// `d (1 - D) / (1 - d D)` at each update, and with these decays the EMA is ready to use after each update.
///
/// For a schedule without closed form `D` is remembered from one call to the next, so consecutive updates take one or two
/// calls of the schedule each. The first call, and any call out of order, takes up to 131,072 calls of the schedule. The
/// result depends on the arguments only, bit for bit, in any order of calls and from any number of threads.
///
/// # Example
///
/// ```
/// use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
///
/// let decay = Decay::constant(0.9).debiased();
/// let at = |updates| decay.decay(Progress { updates, interval: 1 });
/// assert_eq!(at(0), 0.0);
/// assert!((at(1) - 0.09 / 0.19).abs() < 1e-15);
/// ```
#[doc(alias = "bias correction")]
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Debiased {
    // Not public: what is remembered belongs to it.
    schedule: Box<Decay>,
    #[serde(skip)]
    running: Running,
}

impl Debiased {
    /// Corrects `schedule`.
    #[must_use]
    pub fn new(schedule: Decay) -> Self {
        Self {
            schedule: Box::new(schedule),
            running: Running::default(),
        }
    }

    /// The schedule that is corrected.
    #[must_use]
    pub fn schedule(&self) -> &Decay {
        &self.schedule
    }

    /// What is left when `retained` is left of an EMA of which `before` was left of the beginning.
    fn corrected(before: f64, retained: f64) -> f64 {
        match retained * before {
            // Nothing has come in yet.
            1.0 => 1.0,
            after => retained * (1.0 - before) / (1.0 - after),
        }
    }
}

impl PartialEq for Debiased {
    fn eq(&self, other: &Self) -> bool {
        self.schedule == other.schedule
    }
}

impl fmt::Debug for Debiased {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Debiased")
            .field("schedule", &self.schedule)
            .finish()
    }
}

impl DecaySchedule for Debiased {
    fn decay(&self, at: Progress) -> f64 {
        let before = self.running.product(&self.schedule, at);
        Self::corrected(before, self.schedule.decay(at))
    }

    fn validate(&self) -> Result<(), RulesError> {
        self.schedule.validate()
    }

    fn retained(&self, from: Progress, updates: u64) -> f64 {
        let before = self.running.product(&self.schedule, from);
        Self::corrected(before, self.schedule.retained(from, updates))
    }
}
