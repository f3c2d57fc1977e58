//! Decides what an update does, without changing anything.

use burn_ema_rules::decay::{Decay, DecaySchedule, Progress};
use burn_ema_rules::error::RulesError;
use burn_ema_rules::schedule::{Phase, Schedule};

use crate::counters::Counters;
use crate::engine::guard::{self, Guard, NonFinite};
use crate::error::EmaError;
use crate::plan::{Plan, PlanAction};
use crate::walk::read::Reading;

/// What an optimizer step does to an EMA.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    Wait,
    Skip,
    Copy {
        actions: Vec<PlanAction>,
    },
    Average {
        actions: Vec<PlanAction>,
        decay: f64,
    },
}

impl Decision {
    /// What happens to each place, and the weight of the model in it.
    pub(crate) fn change(&self) -> Option<(&[PlanAction], f64)> {
        match self {
            Self::Wait | Self::Skip => None,
            Self::Copy { actions } => Some((actions, 1.0)),
            Self::Average { actions, decay } => Some((actions, 1.0 - decay)),
        }
    }
}

/// How an EMA decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) decay: &'a Decay,
    pub(crate) schedule: Schedule,
    pub(crate) non_finite: NonFinite,
    /// How many updates the next one counts as, in a mean.
    pub(crate) weight: f64,
}

impl Rules<'_> {
    /// What the next step means.
    pub(crate) fn phase(&self, counters: Counters) -> Phase {
        self.schedule.phase(counters.steps + 1)
    }

    fn progress(&self, counters: Counters) -> Progress {
        Progress {
            updates: counters.updates,
            interval: self.schedule.interval,
        }
    }

    /// The decay of the next update, as the schedule returns it.
    pub(crate) fn decay(&self, counters: Counters) -> f64 {
        let decay = || self.decay.decay(self.progress(counters));
        self.decay_of_mean(counters).unwrap_or_else(decay)
    }

    fn try_decay(&self, counters: Counters) -> Result<f64, RulesError> {
        let decay = || self.decay.try_decay(self.progress(counters));
        self.decay_of_mean(counters).map_or_else(decay, Ok)
    }

    /// Updates of a mean may have weights, of which a schedule does not know.
    fn decay_of_mean(&self, counters: Counters) -> Option<f64> {
        match self.decay {
            Decay::EqualWeights(mean) => Some(mean.weighted_decay(counters.weight, self.weight)),
            _ => None,
        }
    }

    /// What the next step does, given the model's tensors and what would happen to each.
    ///
    /// # Errors
    ///
    /// If the schedule gives no decay, or the model is not finite and that is an error.
    pub(crate) fn decide(
        &self,
        counters: Counters,
        plan: &Plan,
        reading: &Reading,
        actions: Vec<PlanAction>,
        guard: &mut Guard,
    ) -> Result<Decision, EmaError> {
        let decay = match self.phase(counters) {
            Phase::Wait => return Ok(Decision::Wait),
            Phase::Copy => None,
            Phase::Update => Some(self.try_decay(counters)?),
        };
        let averaged = guard::averaged(reading, &actions);
        let is_finite = || guard.is_finite(reading, &actions);
        let paths = &plan.places.paths;
        if !self.non_finite.accepts(averaged, paths, is_finite)? {
            return Ok(Decision::Skip);
        }
        Ok(match decay {
            None => Decision::Copy { actions },
            Some(decay) => Decision::Average { actions, decay },
        })
    }
}
