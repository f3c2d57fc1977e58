//! Decides what an update does, without changing anything.

use burn_ema_rules::decay::{Decay, Progress};
use burn_ema_rules::schedule::{Phase, Schedule};

use crate::counters::Counters;
use crate::engine::guard::{Guard, culprit};
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

/// What an update does when a tensor that it would average holds NaN or infinity.
///
/// `Skip` and `Error` read the model once more, since nothing may change before all of it is known to be finite: 16 bytes of
/// memory traffic for each f32 element instead of 12. A GPU is waited for once per update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum NonFinite {
    /// Average it. One such value stays in the EMA for good.
    Propagate,
    /// Leave the EMA as it is and count the step as [skipped](crate::EmaModel::num_skipped).
    Skip,
    /// Return [`EmaError::NonFinite`] and leave everything as it is.
    Error,
}

/// How an EMA decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) decay: &'a Decay,
    pub(crate) schedule: Schedule,
    pub(crate) non_finite: NonFinite,
}

impl Rules<'_> {
    /// What the next step means.
    pub(crate) fn phase(&self, counters: Counters) -> Phase {
        self.schedule.phase(counters.steps + 1)
    }

    pub(crate) fn progress(&self, counters: Counters) -> Progress {
        Progress {
            updates: counters.updates,
            interval: self.schedule.interval,
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
            Phase::Update => Some(self.decay.try_decay(self.progress(counters))?),
        };
        if !self.accepts(plan, reading, &actions, guard)? {
            return Ok(Decision::Skip);
        }
        Ok(match decay {
            None => Decision::Copy { actions },
            Some(decay) => Decision::Average { actions, decay },
        })
    }

    fn accepts(
        &self,
        plan: &Plan,
        reading: &Reading,
        actions: &[PlanAction],
        guard: &mut Guard,
    ) -> Result<bool, EmaError> {
        match self.non_finite {
            NonFinite::Propagate => return Ok(true),
            _ if guard.is_finite(reading, actions) => return Ok(true),
            NonFinite::Skip => return Ok(false),
            NonFinite::Error => {}
        }
        let path = culprit(reading, actions).map(|place| plan.places.paths[place].clone());
        Err(EmaError::NonFinite {
            path: path.unwrap_or_default(),
        })
    }
}
